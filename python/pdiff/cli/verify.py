"""`pdiff verify`: check that banks, runs and generated checkpoints are as they were written."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdiff.cli import options
from pdiff.common.wording import counted, size_text

if TYPE_CHECKING:
    from pdiff.verification import Verification

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
    records, whole = [], True
    for path in paths:
        found = verify(path)
        for line in _lines(found):
            console.say(line)
        what = {"path": str(found.path), "kind": found.kind, "files": found.files}
        records.append({**what, "bytes": found.size, "bad": found.bad})
        whole = whole and not found.bad
    console.result({"whole": whole, "directories": records})
    if not whole:
        raise click.exceptions.Exit(_DIFFERS)


def _lines(found: "Verification") -> list[str]:
    if not found.bad:
        return [f"{found.path}: {counted(found.files, 'file')}, {size_text(found.size)}, all as written"]
    more = len(found.bad) - _SHOWN
    lines = [*found.bad[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return [f"{found.path}: {line}" for line in lines]
