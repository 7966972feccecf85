"""The verdict on a preset in every league: one bank, several trainings.

A bank of 300 whole-network checkpoints of mnist1d, a run of the preset and 50 generated models for each seed,
judged together on the 10,000 test samples, so that the intervals are over trainings too. The gradient
evaluations are those that the rivals of the last league may take; the preset itself takes none.

    python benches/leagues.py [--arch convnet] [--seeds 3] [--preset default] [--gradients 300] [--work DIR]
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import torch

import pdiff
from pdiff.cli.console import Console
from pdiff.common.artifacts import write_json
from pdiff.common.config import Config


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


def said(league: str, results: dict[str, Any]) -> str:
    """Return means, verdict and rivals as text."""
    verdict, means = results["verdict"], (100 * results[each]["mean"] for each in ("original", "generated"))
    rivals = (verdict[plane]["rival"] for plane in ("at_max_similarity", "at_gg"))
    return (
        f"{league}: originals {next(means):.2f} %, generated {next(means):.2f} %. {verdict['sentence']} "
        f"On the frontier there: {next(rivals)}; {next(rivals)}."
    )


@click.command()
@click.option("--arch", default="convnet")
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--preset", default="default")
@click.option("--gradients", type=click.IntRange(1), default=300)
@click.option("--work", type=click.Path(path_type=Path), help="Write the results here, too.")
def main(arch: str, seeds: int, preset: str, gradients: int, work: Path | None) -> None:
    """Print a paragraph for each league."""
    torch.set_num_threads(1)
    console = Console()
    leagues = {"weights": 0, "inputs": 0, "gradients": gradients}
    with tempfile.TemporaryDirectory() as scratch:
        models = generate_all(Path(scratch), arch, preset, seeds, console)
        for league, evaluations in leagues.items():
            results = pdiff.evaluate(models, league=league, gradients=evaluations, progress=console)
            console.say(said(league, results))
            if work:
                work.mkdir(parents=True, exist_ok=True)
                write_json(work / f"{league}.json", results)


if __name__ == "__main__":
    main()
