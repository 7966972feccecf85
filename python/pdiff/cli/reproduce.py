"""`pdiff reproduce`: run published experiments and show what comes out beside what was published."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options

if TYPE_CHECKING:
    from pdiff.experiments.reproduce import RowOutcome

_COUNT = click.IntRange(1)


@click.command("reproduce")
@click.argument("table")
@click.option(
    "--only", metavar="TASK/ARCH", multiple=True, help="Rows to run, as globs; repeatable.  [default: all]"
)
@options.out("reproduced")
@options.data_root
@click.option(
    "--init",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Checkpoint of the pretrained network that the row starts from.",
)
@click.option("--seeds", type=_COUNT, default=1, show_default=True, help="Generators, each of its own seed.")
@click.option("--k", type=click.IntRange(2), help="Checkpoints of the bank.  [default: 300]")
@click.option("--n", type=_COUNT, help="Models of each seed.  [default: 200]")
@click.option("--epochs", type=_COUNT, help="Epochs of training to convergence.  [default: the recipe's]")
@click.option("--preset", metavar="NAME", help="Configuration of the generator.  [default: the row's]")
@click.option("--smoke", is_flag=True, help="Only see whether all of it runs: six checkpoints, few steps.")
@options.device
@options.json_output
def command(table: str, as_json: bool, **given: Any) -> None:
    """Run the rows of TABLE (table1, minis, small, …; `pdiff zoo --list`) from data to verdict.

    Each row is a folder of --out: checkpoints, bank, runs, generated rows and the evaluation. The same
    command goes on where it was interrupted.
    """
    import msgspec

    from pdiff.cli.console import Console
    from pdiff.experiments.reproduce import chosen, reproduce

    console = Console(as_json)
    chosen(table, given["only"])
    outcomes = reproduce(table, progress=console, **given)
    header = ("row", "original", "average", "generated", "mean", "max-similarity", "verdict", "published")
    what = "a trial, whose figures mean nothing" if given["smoke"] else "best of each"
    console.table(f"{table}: {what}", header, list(map(_cells, outcomes)))
    console.say("mean: of all generated; published: original / average / generated, best of each.")
    console.result({"rows": msgspec.to_builtins(outcomes)})


def _cells(outcome: "RowOutcome") -> tuple[str, ...]:
    """Return the cells of a row of the table."""
    published, generated, best = outcome.row.published, outcome.generated, outcome.scale.best
    average, mean = outcome.average.score.mean, generated.score.mean
    return (
        outcome.row.name,
        *map(outcome.scale.text, (best(outcome.original.score), average, best(generated.score), mean)),
        f"{generated.max_similarity:.3f}",
        outcome.position or "none",
        " / ".join(map(str, published)) if published else "–",
    )
