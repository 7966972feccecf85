"""`pdiff convert`: rewrite one checkpoint as safetensors."""

from pathlib import Path

import click

from pdiff.cli import options
from pdiff.common.wording import counted

_FILE = click.Path(path_type=Path)


@click.command("convert")
@click.argument("file", type=_FILE)
@click.option("--out", type=_FILE, required=True, metavar="FILE", help="File to write, *.safetensors.")
@options.weights
@click.option("--i-trust-this-file", "trusted", is_flag=True, help="Run the code in it, if it needs that.")
@click.option("--overwrite", is_flag=True, help="Replace the file --out.")
@options.json_output
def command(file: Path, out: Path, key: str | None, ema: bool | None, as_json: bool, **given: bool) -> None:
    """Write the weights in FILE as safetensors.

    A file of plain data is read without running anything. A whole pickled module or TorchScript is code, and
    only run, in a process of its own, if you say that you trust it; the classes that it names must be
    importable from the current folder.
    """
    import msgspec

    from pdiff.checkpoints import Choice, convert
    from pdiff.cli.console import Console

    console = Console(as_json)
    done = convert(file, out, Choice(key, ema), **given)
    how = "as plain data, no code was run" if done.read == "safely" else "by running the code in it"
    under = f" under {done.key}" if done.key else ""
    size = f"{counted(done.tensors, 'tensor')}{under}, {done.bytes:,} bytes"
    console.say(f"{out}: {size}; {file} was read {how}")
    console.result(msgspec.to_builtins(done))
