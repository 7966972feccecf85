"""Check free disk space before long jobs."""

import os
from pathlib import Path

from pdiff.common.errors import UsageError
from pdiff.common.wording import size_text


def require_space(out: Path, needed: int) -> None:
    """Raise `UsageError` unless `needed` bytes are free where `out` is, or is to be."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        wanted = f"needs {size_text(needed)}, {size_text(free)} are free on {there}"
        raise UsageError(f"{out}: {wanted}; name another with --out")
