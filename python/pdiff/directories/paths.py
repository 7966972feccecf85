"""Paths that files name, which anybody may have written."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pdiff.errors import InputError

__all__ = ["require_inside"]


def require_inside(holder: str | Path, names: Iterable[str]) -> None:
    """Raise `InputError` if any of the paths that `holder` names leads out of its folder."""
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{holder}: names {name!r}, which is not in its folder")
