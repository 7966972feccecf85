"""The verdict on a preset for every data access: one bank, several trainings.

A bank of 300 whole-network checkpoints of mnist1d, a run of the preset and 50 generated models for each seed,
evaluated together on the 10,000 test samples, so that the intervals are over trainings too. The gradient
evaluations are those that the baselines may take that use gradients; the preset itself takes none.

    python benches/data_access.py [--arch convnet] [--seeds 3] [--preset default] [--gradients 300]
"""

import tempfile
from pathlib import Path

import click
import torch

import pdiff
from pdiff.cli.console import Console
from pdiff.common.artifacts import write_json
from pdiff.common.config import Config
from pdiff.evaluation.schema import Results


def generate_all(folder: Path, arch: str, preset: str, seeds: int, console: Console) -> list[pdiff.Generated]:
    """Return the models of each training."""
    task = pdiff.load_task("mnist1d")
    pdiff.build_zoo(
        task, task_name="mnist1d", options={}, arch=arch, out=folder / "ckpts", seed=0, progress=console
    )
    bank = pdiff.collect(folder / "ckpts", out=folder / "bank", progress=console)
    found = []
    for seed in range(seeds):
        config = Config.build(preset, seed=seed)
        run = pdiff.train(bank, out=folder / f"run-{seed}", config=config, progress=console)
        found.append(pdiff.generate(run, n=50, seed=seed, out=folder / f"generated-{seed}", progress=console))
    return found


def said(access: str, results: Results) -> str:
    """Return means, verdict and what the front is made of as text."""
    verdict, planes = results.verdict, (results.verdict.at_max_similarity, results.verdict.at_gg)
    return (
        f"{access}: originals {100 * results.original.score.mean:.2f} %, generated "
        f"{100 * results.generated.score.mean:.2f} %. {verdict.sentence} "
        f"On the front there: {'; '.join(plane.reached_by for plane in planes if plane)}."
    )


@click.command()
@click.option("--arch", default="convnet")
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--preset", default="default")
@click.option("--gradients", type=click.IntRange(1), default=300)
@click.option("--work", type=click.Path(path_type=Path), help="Write the results here, too.")
def main(arch: str, seeds: int, preset: str, gradients: int, work: Path | None) -> None:
    """Print a paragraph for each data access."""
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        models = generate_all(Path(scratch), arch, preset, seeds, console)
        for access, taken in {"weights": 0, "inputs": 0, "gradients": gradients}.items():
            results = pdiff.evaluate(models, data_access=access, gradient_evaluations=taken, progress=console)
            assert results is not None
            console.say(said(access, results))
            if work:
                work.mkdir(parents=True, exist_ok=True)
                write_json(work / f"{access}.json", results)


if __name__ == "__main__":
    main()
