"""`pdiff collect`: turn a folder of checkpoints into a bank."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdiff.alignment.align import Method
    from pdiff.bank import Bank
    from pdiff.cli.console import Console


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
@click.option(
    "--align",
    metavar="activations|weights|lora",
    type=click.Choice(["activations", "weights", "lora"]),
    is_flag=False,
    flag_value="activations",
    help="Put the hidden units of independently trained networks into one order, by what they do on training "
    "inputs of the task (also without a value) or by their weights; or make the factors of LoRA adapters "
    "comparable.",
)
@options.task
@click.option("--extend", is_flag=True, help="Add to the bank in --out; its selection stays.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted command had written.")
@options.output
def command(
    paths: tuple[Path, ...], store_dtype: str, align: "Method | None", as_json: bool, **given: Any
) -> None:
    """Collect the checkpoints below PATHS (files or folders; ./ckpts by default) into a bank.

    What is generated later is what differs between the checkpoints, unless the options say otherwise. --task,
    --arch and --data-root say whose network --align runs, where no task.json beside the checkpoints does.
    """
    roots = options.there(paths)

    from pdiff.bank import collect
    from pdiff.cli.console import Console

    console = Console(as_json)
    how = {name: given.pop(name) for name in ("task", "arch", "data_root")}
    given = options.named(given | {"store_dtype": store_dtype.upper()})
    if align in {None, "lora"}:
        _refuse(f"--{name.replace('_', '-')}" for name, value in how.items() if value is not None)
    if align is None:
        bank = collect(*roots, progress=console, **given)
    else:
        bank = _collect_aligned(console, roots, align, how, given)
    names = [segment.name for segment in bank.layout.segments]
    out = str(bank.path)
    console.say(summary(bank))
    console.result(
        {"bank": out, "members": len(bank), "dim": bank.dim, "tensors": names, "digest": bank.digest}
    )


def _refuse(options_given: "Iterable[str]") -> None:
    """Refuse the options that say how to align where nothing is."""
    from pdiff.common.errors import UsageError

    for option in options_given:
        raise UsageError(f"{option}: only where --align runs the network of a task")


def _collect_aligned(
    console: "Console", roots: tuple[Path, ...], method: "Method", how: dict[str, Any], given: dict[str, Any]
) -> "Bank":
    """Collect into a directory that is removed in the end; write the bank with its members aligned."""
    from pdiff.alignment.align import align
    from pdiff.bank import collect
    from pdiff.bank.manifest import MANIFEST
    from pdiff.common.directories import refuse_directory, scratch
    from pdiff.common.errors import UsageError

    if given["extend"] or given["resume"]:
        raise UsageError("--align looks at all members at once, and goes without --extend and --resume")
    out, overwrite = Path(given.pop("out")), given.pop("overwrite")
    refuse_directory(out, MANIFEST, overwrite)
    arch = how.pop("arch")
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch(out.resolve()) as folder:
        bank = collect(*roots, out=folder / "bank", warn=False, progress=console, **given)
        task = None if method == "lora" else options.task_named(how, bank)
        return align(
            bank, out=out, method=method, task=task, arch=arch, overwrite=overwrite, progress=console
        )


def summary(bank: "Bank") -> str:
    """Say in one line what has been collected."""
    size = f"{counted(bank.dim, 'number')} in {counted(len(bank.layout.segments), 'tensor')}"
    return f"{bank.path}: {len(bank):,} checkpoints × {size}"
