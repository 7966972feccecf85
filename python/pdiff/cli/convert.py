"""`pdiff convert`: rewrite checkpoints as safetensors."""

from pathlib import Path

import click

from pdiff.cli import options
from pdiff.common.wording import counted

_FILE = click.Path(path_type=Path)


@click.command("convert")
@click.argument("file", type=_FILE)
@click.option("--out", type=_FILE, required=True, metavar="PATH", help="*.safetensors, or a folder for many.")
@options.weights
@click.option("--i-trust-this-file", "trusted", is_flag=True, help="Run the code in it, if it needs that.")
@click.option("--overwrite", is_flag=True, help="Replace what is at --out.")
@options.json_output
def command(file: Path, out: Path, key: str | None, ema: bool | None, as_json: bool, **given: bool) -> None:
    """Write the weights in FILE as safetensors; of a folder, those of each checkpoint below it to a folder.

    A file of plain data is read without running anything. A whole pickled module, TorchScript or a folder of
    torch.distributed.checkpoint is code, and only run, in a process of its own, if you say that you trust it;
    the classes that it names must be importable from the current folder.
    """
    import msgspec

    from pdiff.checkpoints import Choice, convert, convert_folder
    from pdiff.cli.console import Console

    console = Console(as_json)
    choice, many = Choice(key, ema), file.is_dir() and out.suffix != ".safetensors"
    if many:
        conversions = convert_folder(file, out, choice, progress=console, **given)
    else:
        conversions = [convert(file, out, choice, **given)]
    for done in conversions:
        how = "as plain data, no code was run" if done.read == "safely" else "by running the code in it"
        under = f" under {done.key}" if done.key else ""
        size = f"{counted(done.tensors, 'tensor')}{under}, {done.bytes:,} bytes"
        console.say(f"{done.out}: {size}; {'it' if many else file} was read {how}")
    console.result(msgspec.to_builtins(conversions if many else conversions[0]))
