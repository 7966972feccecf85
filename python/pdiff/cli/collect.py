"""`pdiff collect`: turn a folder of checkpoints into a bank."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted

if TYPE_CHECKING:
    from pdiff.bank import Bank


@click.command("collect")
@options.paths
@options.out("bank")
@click.option(
    "--select",
    "select_globs",
    metavar="GLOB",
    multiple=True,
    help="Tensors to generate, by name; repeatable.",
)
@click.option(
    "--exclude", "exclude_globs", metavar="GLOB", multiple=True, help="Tensors not to generate; repeatable."
)
@click.option(
    "--last-norms", metavar="N", type=click.IntRange(1), help="Generate the last N normalisation layers."
)
@click.option(
    "--base", metavar="FILE", type=click.Path(path_type=Path), help="Checkpoint to take everything else from."
)
@options.reading
@click.option(
    "--store-dtype",
    type=click.Choice(["f32", "f16", "bf16"], case_sensitive=False),
    default="f32",
    show_default=True,
    help="Type of the bank's numbers; the short ones take half the space and round.",
)
@click.option(
    "--skip-nonfinite",
    is_flag=True,
    help="Leave out checkpoints that hold NaN or infinity where it would be generated.",
)
@click.option(
    "--conditions",
    metavar="TABLE",
    type=click.Path(path_type=Path),
    help="CSV or JSON lines: a column `file` and what is known of each checkpoint.",
)
@click.option("--extend", is_flag=True, help="Add to the bank in --out; its selection stays.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted command had written.")
@options.output
def command(paths: tuple[Path, ...], store_dtype: str, as_json: bool, **given: Any) -> None:
    """Collect the checkpoints below PATHS (files or folders; ./ckpts by default) into a bank.

    What is generated later is what differs between the checkpoints, unless the options say otherwise.
    """
    roots = options.there(paths)

    from pdiff.bank import collect
    from pdiff.cli.console import Console

    console = Console(as_json)
    given = options.named(given | {"store_dtype": store_dtype.upper()})
    bank = collect(*roots, progress=console, **given)
    names = [segment.name for segment in bank.layout.segments]
    out = str(given["out"])
    console.say(summary(bank))
    console.result(
        {"bank": out, "members": len(bank), "dim": bank.dim, "tensors": names, "digest": bank.digest}
    )


def summary(bank: "Bank") -> str:
    """Say in one line what has been collected."""
    size = f"{counted(bank.dim, 'number')} in {counted(len(bank.layout.segments), 'tensor')}"
    return f"{bank.path}: {len(bank):,} checkpoints × {size}"
