"""`pdiff ablate`: vary an experiment and show what each change does."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options

if TYPE_CHECKING:
    from pdiff.experiments.ablate import CellOutcome

_COUNT = click.IntRange(1)
_LEAST_FIRST = ("dispersion", "average", "best", "GG", "originals", "published")
"""Columns in the order in which a narrow terminal leaves them out."""


@click.command("ablate")
@click.argument("grid")
@click.option("--task", metavar="TASK", help="Built-in name or FILE.py:NAME.")
@click.option("--arch", metavar="NAME", help="Network to train.  [default: the first of its recipes]")
@click.option("--subset", help="What changes in the bank's steps.  [default: the recipe's]")
@click.option(
    "--bank",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path),
    help="A bank that is there, of your own checkpoints: none is trained.",
)
@options.out("ablation")
@options.data_root
@click.option("--seeds", type=_COUNT, help="Generators of each cell, each of its own seed.  [default: 1]")
@click.option("--k", type=click.IntRange(2), help="Checkpoints of the bank.  [default: 300]")
@click.option("--n", type=_COUNT, help="Models of each seed.  [default: 200]")
@click.option("--epochs", type=_COUNT, help="Epochs of training to convergence.  [default: the recipe's]")
@click.option("--preset", metavar="NAME", help="Configuration of the generator.  [default: paper]")
@click.option(
    "--baselines-n", type=click.IntRange(2), help="Models of each baseline in the evaluations.  [default: 30]"
)
@options.device
@options.json_output
def command(grid: str, as_json: bool, **given: Any) -> None:
    """Run every cell of GRID: k, noise, timesteps, optimizer, subset, generator (the paper's), or GRID.toml.

    The file has fields of the experiment (task, arch, options, init, bank, k, subset, optimizer, lr, epochs,
    preset, n, seeds, seed, baselines_n), values of the generator's configuration ("train.steps" = 200), and
    tables [[vary]] of lists: the combinations of a table's values are its cells. With --bank the bank is
    yours, and only what is done with it can vary. The same command goes on where it was interrupted; torchrun
    shares the cells out.
    """
    import msgspec

    from pdiff.cli.console import Console
    from pdiff.common.errors import UsageError
    from pdiff.experiments.ablate import FIELDS, Grid, ablate
    from pdiff.experiments.experiment import Experiment
    from pdiff.report.tables import fitted
    from pdiff.tasks import load_task
    from pdiff.zoo.recipes import default_arch, row_for

    console = Console(as_json)
    out, data_root, device = (given.pop(name) for name in ("out", "data_root", "device"))
    file = Path(grid)
    cells, base = Grid.read(file) if file.suffix == ".toml" else (Grid.built_in(grid), {})
    base = {"preset": "paper", **base, **{name: value for name, value in given.items() if value is not None}}
    if base.get("bank") is not None:
        base = _of_bank(Path(base["bank"])) | base | {"bank": str(Path(base["bank"]).resolve())}
    if "task" not in base:
        raise UsageError("which task? give --task, or `task` in the file")
    own = {} if data_root is None else {"data_root": str(data_root)}
    base.setdefault("arch", default_arch(base["task"]) or load_task(base["task"], **own).architectures[0])
    row = row_for(base["task"], base["arch"])
    try:
        experiment = msgspec.convert({"subset": row.subset, "options": row.options, **base}, Experiment)
    except msgspec.ValidationError as error:
        raise UsageError(f"{grid}: {error}") from None
    try:
        experiment.config(experiment.seed)
    except UsageError as error:
        raise UsageError(
            f"{grid}: {str(error).removeprefix('--set ')}; an experiment has {', '.join(FIELDS)}"
        ) from None
    outcomes = ablate(cells, experiment, out=out, data_root=data_root, device=device, progress=console)
    header = ["change", "originals", "average", "best", "mean", "max-similarity", "GG", "dispersion"]
    title = f"{cells.about or grid}: {experiment.task} {experiment.arch}"
    said = ""
    if any(outcome.cell.published for outcome in outcomes):
        header, said = [*header, "published"], " published: best / mean of the paper's, in per cent."
    rows = [_cells(outcome)[: len(header)] for outcome in outcomes]
    names, cells_shown, left_out = fitted(header, rows, _LEAST_FIRST, console.width)
    console.table(title, names, cells_shown)
    console.say(f"originals: mean; average: of all; best and mean: of the generated.{said}")
    if left_out:
        console.say(f"Left out for want of space: {', '.join(left_out)}.")
    if len(outcomes) > 1:
        console.say(f"Page: {out / 'report.html'}; figures: {out / 'ablation.json'}")
    console.result({"cells": msgspec.to_builtins(outcomes)})


def _of_bank(path: Path) -> dict[str, Any]:
    """Return the fields of an experiment that a bank decides."""
    from pdiff.bank import Bank

    bank = Bank.open(path)
    task = (
        {}
        if bank.task is None
        else {"task": bank.task.name, "arch": bank.task.arch, "options": bank.task.options}
    )
    return {"k": len(bank), **task}


def _cells(outcome: "CellOutcome") -> tuple[str, ...]:
    """Return the cells of a row of the table."""
    generated, published = outcome.generated, outcome.cell.published
    return (
        outcome.cell.name,
        *map(
            outcome.scale.bare,
            (
                outcome.original.score.mean,
                outcome.average.score.mean,
                outcome.scale.best(generated.score),
                generated.score.mean,
            ),
        ),
        f"{generated.max_similarity:.3f}",
        "–" if generated.gg is None else f"{generated.gg:.3f}",
        "–" if generated.dispersion is None else f"{generated.dispersion:.2f}",
        " / ".join(map(str, published)) if published else "–",
    )
