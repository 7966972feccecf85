"""Locks on directories, which end with the process that holds them, however it ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pdiff.errors import UsageError

__all__ = ["hold", "locked"]

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Hold a lock on `folder` while the block runs; `UsageError` if another process is `doing` the same.

    Where the file system has no locks, nobody is kept out.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _flock(descriptor) is False:
            raise UsageError(f"{folder}: another process is {doing} it; wait until it has finished")
        yield
    finally:
        os.close(descriptor)


def hold(folder: Path, *, new: bool = False) -> int | None:
    """Return the lock of a directory, now held, unless another process holds it or the directory is gone.

    Where the file system has no locks, only a `new` directory is taken to be ours.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    with suppress(OSError):
        held = _flock(descriptor)
        if (new if held is None else held) and folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    os.close(descriptor)
    return None


def _flock(descriptor: int) -> bool | None:
    """Lock an open directory; return whether it is held now, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True
