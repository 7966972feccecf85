"""Records kept on disk from one run to the next, by what they depend on, never by where that lay.

A folder for each context; in it one append-only file for each process that wrote. A record is

    magic · key · length of the payload · payload · BLAKE3 of all that

and is written at once, so that a process that is killed loses at most the record it was computing. A torn
tail or a damaged record is as good as none. Nothing in a record is ever run.
"""

import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pdiff import _core

__all__ = ["Store", "default_folder"]

LIMIT = 4 * 1024**3
"""Bytes beyond which the contexts that were not used for the longest time are removed."""

_MAGIC = b"pdpred1\n"
_KEY = 64
_HEAD = struct.Struct(f"<{len(_MAGIC)}s{_KEY}sQ")
_SUFFIX = ".records"
_IN_USE_S = 24 * 3600.0
_Place = tuple[Path, int, int]
"""A file, where in it a record begins, and the record's bytes."""


def default_folder() -> Path:
    """Return `$PDIFF_CACHE`, or `pdiff` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("PDIFF_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "pdiff"


class Store:
    """The records of one `context`, a digest of everything besides the key that decides a record.

    Keys are digests too. A folder that cannot be read or written is said once through `warn`, and done
    without: nothing here raises.
    """

    def __init__(self, folder: Path, context: str, warn: Callable[[str], None], limit: int = LIMIT) -> None:
        self._folder = folder / "predictions" / context
        self._warn: Callable[[str], None] | None = warn
        self._own = self._folder / f"{uuid4().hex}{_SUFFIX}"
        self._places: dict[str, list[_Place]] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            os.utime(self._folder)
            for path in _files(self._folder):
                for key, place in _index(path):
                    self._places.setdefault(key, []).append(place)
            with suppress(FileNotFoundError):  # another process removes the same
                _shrink(self._folder, limit)
        except OSError as error:
            self._give_up(error)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> bytes | None:
        """Return the payload under `key`, if there is one and it is whole."""
        payloads = map(_payload, self._places.get(key, ()))
        return next((payload for payload in payloads if payload is not None), None)

    def put(self, key: str, payload: bytes) -> None:
        """Append a record, in one write."""
        if self._warn is None:
            return
        record = _HEAD.pack(_MAGIC, key.encode(), len(payload)) + payload
        record += _core.digest(record).encode()
        try:
            with self._own.open("ab", buffering=0) as file:
                place = (self._own, file.tell(), len(record))
                if file.write(record) < len(record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._give_up(error)
        else:
            self._places.setdefault(key, []).append(place)

    def _give_up(self, error: OSError) -> None:
        """Warn, and write no more."""
        if self._warn is not None:
            self._warn(f"{self._folder}: predictions are not kept ({error.strerror}); see --cache")
        self._warn = None


def _files(folder: Path) -> list[Path]:
    """Return the files of records in a context's folder."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.is_file())


def _index(path: Path) -> Iterator[tuple[str, _Place]]:
    """Yield keys and where their records lie in a file, up to the first place where there is no record."""
    with path.open("rb") as file:
        end, start = os.fstat(file.fileno()).st_size, 0
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, key, length = _HEAD.unpack(head)
            size = _HEAD.size + length + _KEY
            if magic != _MAGIC or size > end - start:
                return
            yield key.decode("ascii", "replace"), (path, start, size)
            start += size
            file.seek(start)


def _payload(place: _Place) -> bytes | None:
    """Return what the record at a place holds, if it is whole."""
    path, start, size = place
    try:
        with path.open("rb") as file:
            file.seek(start)
            record = file.read(size)
    except OSError:
        return None
    whole = len(record) == size and _core.digest(record[:-_KEY]).encode() == record[-_KEY:]
    return record[_HEAD.size : -_KEY] if whole else None


def _shrink(own: Path, limit: int) -> None:
    """Remove other contexts, the ones unused for the longest first, until all fit into `limit` bytes."""
    found = [
        (folder.stat().st_mtime, sum(path.stat().st_size for path in _files(folder)), folder)
        for folder in own.parent.iterdir()
    ]
    total = sum(size for _, size, _ in found)
    for used, size, folder in sorted(found):
        if total <= limit:
            return
        if folder == own or time.time() - used < _IN_USE_S:
            continue
        for path in _files(folder):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # something else lies in it
            folder.rmdir()
        total -= size
