"""`pdiff convert`: one checkpoint → one safetensors file."""

from pathlib import Path

import click

from pdiff.cli import options
from pdiff.common.wording import counted

__all__ = ["command"]


@click.command("convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="File to write, *.safetensors.",
)
@options.weights_key
@options.ema
@click.option("--i-trust-this-file", "trusted", is_flag=True, help="Run the code in it, if it needs that.")
@click.option("--overwrite", is_flag=True, help="Replace the file --out.")
@options.json_output
def command(
    file: Path, out: Path, key: str | None, ema: bool | None, trusted: bool, overwrite: bool, as_json: bool
) -> None:
    """Write the weights in FILE as safetensors.

    A file of plain data is read without running anything. A whole pickled module or TorchScript is code, and
    only run, in a process of its own, if you say that you trust it; the classes that it names must be
    importable from the current folder.
    """
    import msgspec

    from pdiff.checkpoints import Choice, convert
    from pdiff.cli.console import Console

    console = Console(as_json)
    done = convert(file, out, Choice(key, ema), trusted=trusted, overwrite=overwrite)
    how = "as plain data, no code was run" if done.read == "safely" else "by running the code in it"
    under = f" under {done.key}" if done.key else ""
    console.say(
        f"{out}: {counted(done.tensors, 'tensor')}{under}, {done.bytes:,} bytes; {file} was read {how}"
    )
    console.result(msgspec.to_builtins(done))
