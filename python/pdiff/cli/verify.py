"""`pdiff verify`: whether banks, runs and generated checkpoints are as they were written."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdiff.cli import options
from pdiff.common.wording import counted

if TYPE_CHECKING:
    from pdiff.verification import Verification

__all__ = ["command"]

_SHOWN = 10
_DIFFERS = 3


@click.command("verify")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.json_output
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read every file of the banks, runs and generated folders PATH and compare it with its digest.

    Exits with 3 if anything is missing or not as it was written.
    """
    from pdiff.cli.console import Console
    from pdiff.verification import verify

    console = Console(as_json)
    found = []
    for path in paths:
        found.append(verify(path))
        for line in _lines(found[-1]):
            console.say(line)
    whole = not any(each.bad for each in found)
    console.result({"whole": whole, "directories": [_record(each) for each in found]})
    if not whole:
        raise click.exceptions.Exit(_DIFFERS)


def _record(found: "Verification") -> dict[str, object]:
    return {
        "path": str(found.path),
        "kind": found.kind,
        "files": found.files,
        "bytes": found.size,
        "bad": found.bad,
    }


def _lines(found: "Verification") -> list[str]:
    from pdiff.common.disk import size_text

    if not found.bad:
        return [f"{found.path}: {counted(found.files, 'file')}, {size_text(found.size)}, all as written"]
    more = len(found.bad) - _SHOWN
    lines = [f"{found.path}: {line}" for line in found.bad[:_SHOWN]]
    return [*lines, f"{found.path}: and {more} more"] if more > 0 else lines
