"""Room on disk: asked for before long work, not found missing in the middle of it."""

import os
from pathlib import Path

from pdiff.common.errors import UsageError

__all__ = ["require_space", "size_text"]

_UNITS = ("kB", "MB", "GB", "TB")


def require_space(out: Path, needed: int) -> None:
    """Raise `UsageError` unless `needed` bytes are free where `out` is, or is to be."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        wanted = f"needs {size_text(needed)}, {size_text(free)} are free on {there}"
        raise UsageError(f"{out}: {wanted}; name another with --out")


def size_text(size: int) -> str:
    """Return a number of bytes for people: `340 MB`, `4.5 GB`, powers of ten."""
    value, unit = float(size), "bytes"
    for larger in _UNITS:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.2g} {unit}" if unit != "bytes" and value < 9.95 else f"{value:.0f} {unit}"
