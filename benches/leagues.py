"""The verdict on a preset in every league: one bank, several trainings, one table.

A bank of 300 whole-network checkpoints of mnist1d, a run of the preset and 50 generated models for each seed,
judged together on the 10,000 test samples, so that the intervals are over trainings too. The
gradient evaluations are those that the rivals of the last league may take; the preset itself takes none.

    python benches/leagues.py [--arch convnet] [--seeds 3] [--preset default] [--gradients 300] [--work DIR]
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import torch

import pdiff
from pdiff.artifacts import write_json
from pdiff.cli.console import Console
from pdiff.config import Config


def generate_all(folder: Path, arch: str, preset: str, seeds: int, console: Console) -> list[pdiff.Generated]:
    """Return the models of each training."""
    task = pdiff.load_task("mnist1d")
    pdiff.build_zoo(
        task, task_name="mnist1d", options={}, arch=arch, out=folder / "ckpts", seed=0, progress=console
    )
    bank = pdiff.collect(folder / "ckpts", out=folder / "bank", progress=console)
    found = []
    for seed in range(seeds):
        config = Config.build(preset, None, (), seed)
        run = pdiff.train(bank, out=folder / f"run-{seed}", config=config, progress=console)
        found.append(pdiff.generate(run, n=50, seed=seed, out=folder / f"generated-{seed}", progress=console))
    return found


def plane(entry: dict[str, Any]) -> str:
    """Return where the models are in a plane as text."""
    margin, low, high = (f"{100 * x:+.2f}" for x in (entry["margin"], *entry["interval"]))
    return f"{entry['at']:.3f}: {margin} ({low} to {high}), {entry['position']}; {entry['rival']}"


@click.command()
@click.option("--arch", default="convnet")
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--preset", default="default")
@click.option("--gradients", type=click.IntRange(1), default=300)
@click.option("--work", type=click.Path(path_type=Path), help="Write the results here, too.")
def main(arch: str, seeds: int, preset: str, gradients: int, work: Path | None) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    console = Console()
    leagues = {"weights": 0, "inputs": 0, "gradients": gradients}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        models = generate_all(Path(scratch), arch, preset, seeds, console)
        for league, evaluations in leagues.items():
            results = pdiff.evaluate(models, league=league, gradients=evaluations, progress=console)
            verdict = results["verdict"]
            rows.append(
                [
                    league,
                    f"{100 * results['original']['mean']:.2f}",
                    f"{100 * results['generated']['mean']:.2f}",
                    plane(verdict["at_max_similarity"]),
                    plane(verdict["at_gg"]),
                    verdict["position"],
                ]
            )
            if work:
                work.mkdir(parents=True, exist_ok=True)
                write_json(work / f"{league}.json", results)
    columns = ["league", "originals", "generated", "at max-similarity", "at GG", "verdict"]
    console.table(f"mnist1d {arch}, preset {preset}, {seeds} trainings", columns, rows)


if __name__ == "__main__":
    main()
