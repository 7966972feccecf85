"""Directories that are written where they are, by commands that go on with what they find."""

import shutil
from pathlib import Path

from pdiff import _core
from pdiff.directories.refusal import refusal
from pdiff.errors import UsageError

__all__ = ["prepare_directory"]


def prepare_directory(out: Path, marker: str, *, resume: bool | None = None, overwrite: bool = False) -> None:
    """Make `out` ready to be written in place; half-written files of a killed process are removed.

    An empty or absent directory is created; one that is not empty is kept with `resume` (None where there
    is no such thing), emptied with `overwrite` (if it holds the file `marker`), and refused with a
    `UsageError` otherwise.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with what --overwrite would replace; choose one")
    keep = resume and (out / marker).is_file()
    hint = "replace it with --overwrite" if resume is None else "use --resume or --overwrite"
    if not keep and (reason := refusal(out, marker, overwrite, hint)) is not None:
        raise UsageError(reason)
    if overwrite and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    _core.remove_stale(out)
