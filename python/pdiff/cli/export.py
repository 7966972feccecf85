"""`pdiff export`: write rows as checkpoint files."""

from pathlib import Path
from typing import Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted


@click.command("export")
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@options.out("exported")
@click.option("--members", metavar="0-9,12", help="Which, by index from 0.  [default: all]")
@options.file_format(
    *("safetensors", "pth", "source"),
    text="One safetensors or torch file (.pth) a model, or files as the bank was collected from (names end "
    "like theirs, .ckpt for instance).",
)
@options.output
def command(source: Path, members: str | None, as_json: bool, **given: Any) -> None:
    """Write members of a bank, or generated models, as checkpoint files.

    DIR is a bank or what `pdiff generate` wrote, as rows or as files of another format.
    """
    chosen = None if members is None else _indices(members)

    from pdiff.cli.console import Console
    from pdiff.generation.extract import export

    console = Console(as_json)
    files = export(source, members=chosen, progress=console, **given)
    console.say(f"{given['out']}: {counted(len(files), 'checkpoint')}")
    console.result({"exported": str(given["out"]), "files": [file.name for file in files]})


def _indices(text: str) -> list[int]:
    """Return the numbers that `0-9,12` names; raises `UsageError`."""
    from pdiff.common.errors import UsageError

    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--members {text}: numbers and ranges of them are wanted, such as 0-9,12")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers:
            raise UsageError(f"--members {text}: the range {part.strip()} is empty")
        found += numbers
    return found
