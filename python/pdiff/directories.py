"""Output directories: whole or absent, and nobody else's is ever replaced."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pdiff.errors import UsageError

__all__ = ["prepare_directory", "refuse_directory", "staged_directory"]

_LOCK = ".lock"


def _refusal(out: Path, marker: str, overwrite: bool, hint: str) -> str | None:
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
    if (reason := _refusal(out, marker, overwrite, "replace it with --overwrite")) is not None:
        raise UsageError(reason)
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: {there} is not writable; name another with --out")


@contextmanager
def staged_directory(out: Path, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of `out`, which becomes `out` if the block succeeds and vanishes if not.

    Raises `UsageError` if `out` is not empty, unless `overwrite` is set and `out` holds the file `marker`
    that says it is ours to replace. What killed processes left is put back or removed first.
    """
    _recover(out.resolve())
    refuse_directory(out, marker, overwrite)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in out.parent.glob(f".{glob.escape(out.name)}.staged-*"):
        _remove_stale(stale)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.staged-", dir=out.parent))
    staged.chmod(0o777 & ~_umask())
    try:
        with (staged / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield staged
            _replace(out, staged)
            (out / _LOCK).unlink()  # only now: without its lock, nobody could tell that `staged` is stale
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _recover(out: Path) -> None:
    """Put back what a process that was killed in the middle of `_replace` had moved aside."""
    for retired in out.parent.glob(f".{glob.escape(out.name)}.retired-*"):
        if out.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            retired.rename(out)


def _remove_stale(staged: Path) -> None:
    """Remove a staging directory, unless the process that holds its lock still lives."""
    try:
        with (staged / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(staged, ignore_errors=True)
    except OSError:
        return


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _replace(out: Path, staged: Path) -> None:
    """Put `staged` in the place of `out`, which may exist; if that fails, `out` is what it was."""
    retired = staged.with_name(staged.name.replace(".staged-", ".retired-"))
    replaced = out.exists()
    if replaced:
        out.rename(retired)
    try:
        staged.rename(out)
    except BaseException:
        if replaced:
            retired.rename(out)
        raise
    if replaced:
        shutil.rmtree(retired, ignore_errors=True)
    descriptor = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_directory(out: Path, marker: str, *, resume: bool | None = None, overwrite: bool = False) -> None:
    """Make `out` ready to be written in place.

    An empty or absent directory is created; one that is not empty is kept with `resume` (None where there
    is no such thing), emptied with `overwrite` (if it holds the file `marker`), and refused with a
    `UsageError` otherwise.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with what --overwrite would replace; choose one")
    keep = resume and (out / marker).is_file()
    hint = "replace it with --overwrite" if resume is None else "use --resume or --overwrite"
    if not keep and (reason := _refusal(out, marker, overwrite, hint)) is not None:
        raise UsageError(reason)
    if overwrite and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
