"""What must not be written to: files, and directories of others."""

import os
from pathlib import Path

from pdiff.errors import UsageError

__all__ = ["refusal", "refuse_directory", "require_writable"]


def refusal(out: Path, marker: str, overwrite: bool, hint: str) -> str | None:
    """Return why `out` must not be written to, or None."""
    if not out.exists():
        return None
    if not out.is_dir():
        return f"{out}: exists and is not a directory; name another with --out"
    if not any(out.iterdir()):
        return None
    if not overwrite:
        return f"{out}: not empty; {hint}, or name another with --out"
    if not (out / marker).is_file():
        return f"{out}: holds no {marker}, so --overwrite will not replace it; name another with --out"
    return None


def refuse_directory(out: Path, marker: str, overwrite: bool = False) -> None:
    """Raise the `UsageError` that `staged_directory` would: before long work, not after it."""
    if (reason := refusal(out, marker, overwrite, "replace it with --overwrite")) is not None:
        raise UsageError(reason)
    require_writable(out, next(folder for folder in out.absolute().parents if folder.exists()))


def require_writable(out: Path, folder: Path) -> None:
    """Raise the `UsageError` for an output in a `folder` where nothing can be made."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: {folder} is not writable; name another with --out")
