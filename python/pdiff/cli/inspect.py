"""`pdiff inspect`: what files, folders and banks hold."""

from pathlib import Path

import click

from pdiff.cli import options


@click.command("inspect")
@options.paths
@options.weights
@click.option("--deep", is_flag=True, help="Compare byte by byte until tensors differ, not samples of them.")
@click.option("--all", "everything", is_flag=True, help="List every tensor and every file left aside.")
@options.json_output
def command(
    paths: tuple[Path, ...], key: str | None, ema: bool | None, deep: bool, everything: bool, as_json: bool
) -> None:
    """Say what the files, folders and banks at PATHS hold (./ckpts by default); nothing is written.

    Checkpoints of the same tensors are one kind; for each kind it is said which tensors vary, since that is
    what `pdiff collect` takes.
    """
    import msgspec

    from pdiff.checkpoints import Choice, inspect
    from pdiff.cli.console import Console
    from pdiff.cli.inspection import show
    from pdiff.common.errors import InputError

    console = Console(as_json)
    roots = paths or (Path("ckpts"),)
    inspection = inspect(roots, Choice(key, ema), console, deep=deep)
    show(console, inspection, everything)
    console.result(msgspec.to_builtins(inspection))
    if not inspection.checkpoints and not inspection.banks:
        where = ", ".join(map(str, roots))
        raise InputError(f"{where}: no checkpoints that can be read (.safetensors, .pt, .pth, .bin, .ckpt)")
