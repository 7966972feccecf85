"""Put a directory in the place of another, never of somebody else's."""

import errno
import glob
import shutil
from collections.abc import Callable
from pathlib import Path

from pdiff import _core
from pdiff.common.errors import PdiffError, UsageError

_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


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


class SupersededError(UsageError):
    """Somebody else put a finished directory of the same kind there meanwhile."""


def put(out: Path, staged: Path, marker: str, overwrite: bool) -> Path | None:
    """Give `staged` the name `out`, and return where what it replaced is, to be removed.

    If that fails, `out` is what it was. A rename never replaces a directory that is not empty; what an
    exchange brought out is looked at again. Raises `UsageError` for what must not be replaced.
    """
    there = inode(out)
    if (reason := refusal(out, marker, overwrite, "it was put there meanwhile, so move it away")) is not None:
        raise _superseded(out, marker) or UsageError(reason)
    if there is not None and any(out.iterdir()):

        def check(old: Path) -> None:
            if inode(old) != there or refusal(old, marker, overwrite, "") is not None:
                raise UsageError(f"{out}: something else was put there meanwhile; name another with --out")

        return _exchange(out, staged, check)
    try:
        staged.rename(out)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        reason = f"{out}: something was put there meanwhile; name another with --out"
        raise _superseded(out, marker) or UsageError(reason) from None
    return None


def _superseded(out: Path, marker: str) -> SupersededError | None:
    if not (out / marker).is_file():
        return None
    return SupersededError(f"{out}: another process finished it meanwhile; what this one wrote is removed")


def _exchange(out: Path, staged: Path, check: Callable[[Path], None]) -> Path:
    """Exchange two directories, unless `check` refuses what comes out; return where that is."""
    try:
        _core.exchange(staged, out)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        return _exchange_in_two_steps(out, staged, check)
    try:
        check(staged)
    except BaseException as error:
        try:
            _core.exchange(staged, out)
        except OSError:
            raise PdiffError(f"{str(error) or 'interrupted'}; what {out} was is now {staged}") from error
        raise
    return staged


def _exchange_in_two_steps(out: Path, staged: Path, check: Callable[[Path], None]) -> Path:
    """Do the same where the file system cannot exchange: for a moment there is no `out`; see `recover`."""
    retired = staged.with_name(staged.name.replace(".staged-", ".retired-"))
    out.rename(retired)
    try:
        check(retired)
        staged.rename(out)
    except BaseException:
        retired.rename(out)
        raise
    return retired


def recover(out: Path) -> None:
    """Put back what a process that was killed in the middle of `_exchange_in_two_steps` had moved aside."""
    for retired in out.parent.glob(f".{glob.escape(out.name)}.retired-*"):
        if out.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            retired.rename(out)


def inode(path: Path) -> int | None:
    """Return the inode of `path`, None if there is nothing."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None
