"""Make output directories that appear whole or not at all, and never replace somebody else's."""

import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from pdiff import _core
from pdiff.common.errors import InputError, PdiffError, UsageError
from pdiff.common.wording import size_text

_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


def require_inside(holder: str | Path, names: Iterable[str]) -> None:
    """Raise `InputError` if any of the paths that `holder` names leads out of its folder."""
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{holder}: names {name!r}, which is not in its folder")


def process_umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def refuse_directory(out: Path, marker: str, overwrite: bool = False) -> None:
    """Raise the `UsageError` that `staged_directory` would: before long work, not after it."""
    if (reason := _refusal(out, marker, overwrite, "replace it with --overwrite")) is not None:
        raise UsageError(reason)
    require_writable(out)


def refuse_begun(out: Path, marker: str, *, resume: bool | None = None, overwrite: bool = False) -> None:
    """Raise the `UsageError` that `prepare_directory` would: before long work, not after it."""
    if resume and overwrite:
        raise UsageError("--resume goes on with what --overwrite would replace; choose one")
    keep = resume and (out / marker).is_file()
    hint = "replace it with --overwrite" if resume is None else "use --resume or --overwrite"
    if not keep and (reason := _refusal(out, marker, overwrite, hint)) is not None:
        raise UsageError(reason)
    if overwrite or not out.exists():
        require_writable(out)


def require_writable(out: Path, folder: Path | None = None) -> None:
    """Raise the `UsageError` for an output in a `folder`, by default its own, where nothing can be made."""
    folder = folder or next(parent for parent in out.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: {folder} is not writable; name another with --out")


def require_space(out: Path, needed: int) -> None:
    """Raise `UsageError` unless `needed` bytes are free where `out` is, or is to be."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        wanted = f"needs {size_text(needed)}, {size_text(free)} are free on {there}"
        raise UsageError(f"{out}: {wanted}; name another with --out")


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


def _hold(folder: Path, *, new: bool = False) -> int | None:
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


def prepare_directory(out: Path, marker: str, *, resume: bool | None = None, overwrite: bool = False) -> None:
    """Make `out` ready to be written in place; half-written files of a killed process are removed.

    An empty or absent directory is created; one that is not empty is kept with `resume` (None where there
    is no such thing), emptied with `overwrite` (if it holds the file `marker`), and refused with a
    `UsageError` otherwise.
    """
    refuse_begun(out, marker, resume=resume, overwrite=overwrite)
    if overwrite and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    _core.remove_stale(out)


@contextmanager
def staged_directory(
    out: Path, marker: str, overwrite: bool = False, *, journal: str | None = None, resume: bool = False
) -> Iterator[Path]:
    """Yield a temporary sibling of `out`, which becomes `out` if the block succeeds and vanishes if not.

    With `journal`, the name of a file that the block writes once there is something worth keeping, a block
    that is interrupted or killed, or finds something foreign in its way in the end, leaves the sibling, and
    the next one with `resume` is given it again. The journal is removed just before the exchange, so that no
    finished directory ever holds it: killed in between, the block starts anew. What killed processes left is
    otherwise put back or removed first.

    Raises `UsageError` if `out` is not empty, unless `overwrite` is set and `out` holds the file `marker`
    that says it is ours to replace: asked before the block and, since that may take hours, after it.
    """
    _recover(out.resolve())
    refuse_directory(out, marker, overwrite)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    told: bytes | None = None
    staged, lock = _take(out, journal if resume else None) or _fresh(out)
    try:
        yield staged
        if journal and (staged / journal).exists():
            told = (staged / journal).read_bytes()
            (staged / journal).unlink()
        old = _put(out, staged, marker, overwrite)
    except BaseException as error:
        ours = _inode(staged) == os.fstat(lock).st_ino  # else it is what `out` was
        if ours and _kept(staged, journal, told, error) and isinstance(error, UsageError):
            way = f"to use it, move {out} away and go on with --resume"
            raise UsageError(f"{error}; what was written is kept in {staged}: {way}") from None
        raise
    finally:
        os.close(lock)
    try:
        _sync(out.parent)  # before anything is removed: a power cut may undo the one and not the other
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _kept(staged: Path, journal: str | None, told: bytes | None, error: BaseException) -> bool:
    """Return whether another block can go on with what the journal tells of; else remove the directory."""
    resumable = isinstance(error, KeyboardInterrupt | UsageError) and not isinstance(error, _SupersededError)
    if resumable and journal and told is not None:
        with suppress(OSError):
            _core.write_file(staged / journal, told)
    kept = resumable and journal is not None and (staged / journal).exists()
    if not kept:
        shutil.rmtree(staged, ignore_errors=True)
    return kept


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `out`, removed in the end; those of killed processes, first."""
    _take(out, None)
    folder, lock = _fresh(out)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _fresh(out: Path) -> tuple[Path, int]:
    """Make an empty staging directory; return it and its lock, held."""
    while True:
        staged = out.parent / f".{out.name}.staged-{secrets.token_hex(4)}"
        try:
            staged.mkdir(mode=0o700)
            lock = _hold(staged, new=True)
            if lock is not None:  # else another process took it for one of the dead
                staged.chmod(0o777 & ~process_umask())
                return staged, lock
        except FileExistsError:
            continue
        except BaseException:  # a signal, too, as soon as it is there
            with suppress(OSError):
                staged.rmdir()
            raise


def _take(out: Path, journal: str | None) -> tuple[Path, int] | None:
    """Remove staging directories whose process died, but for the latest with a `journal`: take that."""
    stale = [
        (staged, lock)
        for staged in out.parent.glob(f".{glob.escape(out.name)}.staged-*")
        if (lock := _hold(staged)) is not None
    ]
    resumable = [each for each in stale if journal and (each[0] / journal).is_file()]
    taken = max(resumable, key=lambda each: (each[0] / str(journal)).stat().st_mtime, default=None)
    for staged, lock in stale:
        if taken is None or staged != taken[0]:
            shutil.rmtree(staged, ignore_errors=True)
            os.close(lock)
    return taken


def _sync(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
    finally:
        os.close(descriptor)


class _SupersededError(UsageError):
    """Somebody else put a finished directory of the same kind there meanwhile."""


def _put(out: Path, staged: Path, marker: str, overwrite: bool) -> Path | None:
    """Give `staged` the name `out`, and return where what it replaced is, to be removed.

    If that fails, `out` is what it was. A rename never replaces a directory that is not empty; what an
    exchange brought out is looked at again. Raises `UsageError` for what must not be replaced.
    """
    there = _inode(out)
    if (
        reason := _refusal(out, marker, overwrite, "it was put there meanwhile, so move it away")
    ) is not None:
        raise _obstructed(out, marker, reason)
    if there is not None and any(out.iterdir()):

        def check(old: Path) -> None:
            if _inode(old) != there or _refusal(old, marker, overwrite, "") is not None:
                raise UsageError(f"{out}: something else was put there meanwhile; name another with --out")

        return _exchange(out, staged, check)
    try:
        staged.rename(out)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        reason = f"{out}: something was put there meanwhile; name another with --out"
        raise _obstructed(out, marker, reason) from None
    return None


def _obstructed(out: Path, marker: str, reason: str) -> UsageError:
    """Return the error for what was put in the way: `reason`, unless it is a finished directory of ours."""
    if not (out / marker).is_file():
        return UsageError(reason)
    return _SupersededError(f"{out}: another process finished it meanwhile; what this one wrote is removed")


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
    """Do the same where the file system cannot exchange: for a moment there is no `out`; see `_recover`."""
    retired = staged.with_name(staged.name.replace(".staged-", ".retired-"))
    out.rename(retired)
    try:
        check(retired)
        staged.rename(out)
    except BaseException:
        retired.rename(out)
        raise
    return retired


def _recover(out: Path) -> None:
    """Put back what a process that was killed in the middle of `_exchange_in_two_steps` had moved aside."""
    for retired in out.parent.glob(f".{glob.escape(out.name)}.retired-*"):
        if out.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            retired.rename(out)


def _inode(path: Path) -> int | None:
    """Return the inode of `path`, None if there is nothing."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None
