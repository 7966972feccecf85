"""`pdiff collect`: a folder of checkpoints → a bank."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdiff.cli import options
from pdiff.common.wording import counted

if TYPE_CHECKING:
    from pdiff.bank.manifest import StoreDtype

__all__ = ["command"]

_STORED: dict[str, "StoreDtype"] = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


@click.command("collect")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@options.out("bank")
@click.option(
    "--select", "selected", metavar="GLOB", multiple=True, help="Tensors to generate, by name; repeatable."
)
@click.option(
    "--exclude", "excluded", metavar="GLOB", multiple=True, help="Tensors not to generate; repeatable."
)
@click.option(
    "--last-norms", metavar="N", type=click.IntRange(1), help="Generate the last N normalisation layers."
)
@click.option(
    "--base", metavar="FILE", type=click.Path(path_type=Path), help="Checkpoint to take everything else from."
)
@click.option("--majority", is_flag=True, help="Of several kinds of checkpoint, take the largest group.")
@options.weights_key
@options.ema
@click.option(
    "--store-dtype",
    type=click.Choice(list(_STORED), case_sensitive=False),
    default="f32",
    show_default=True,
    help="Type of the bank's numbers; the short ones take half the space and round.",
)
@click.option("--strict", is_flag=True, help="Refuse the folder if any file cannot be read.")
@click.option("--extend", is_flag=True, help="Add to the bank in --out; its selection stays.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted command had written.")
@options.overwrite
@options.json_output
def command(
    paths: tuple[Path, ...],
    out: Path,
    selected: tuple[str, ...],
    excluded: tuple[str, ...],
    last_norms: int | None,
    base: Path | None,
    majority: bool,
    key: str | None,
    ema: bool | None,
    store_dtype: str,
    strict: bool,
    extend: bool,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Collect the checkpoints below PATHS (files or folders; ./ckpts by default) into a bank.

    What is generated later is what differs between the checkpoints, unless the options say otherwise.
    """
    from pdiff.bank import collect
    from pdiff.cli.console import Console

    console = Console(as_json)
    bank = collect(
        *(paths or (Path("ckpts"),)),
        out=out,
        select_globs=selected,
        exclude_globs=excluded,
        last_norms=last_norms or 0,
        base=base,
        key=key,
        ema=ema,
        store_dtype=_STORED[store_dtype],
        majority=majority,
        strict=strict,
        extend=extend,
        resume=resume,
        overwrite=overwrite,
        progress=console,
    )
    names = [segment.name for segment in bank.layout.segments]
    size = f"{counted(bank.dim, 'number')} in {counted(len(names), 'tensor')}"
    console.say(f"{out}: {len(bank):,} checkpoints × {size}")
    console.result(
        {"bank": str(out), "members": len(bank), "dim": bank.dim, "tensors": names, "digest": bank.digest}
    )
