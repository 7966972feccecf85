"""The shards that an interrupted `collect` has finished, so that another can go on with them.

A file of JSON lines: the first says what is being written, each other one describes a finished shard. A line
cut short by a crash is as good as none.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pdiff import _core
from pdiff.checkpoints.records import Checkpoint

__all__ = ["JOURNAL", "Finished", "Journal", "Purpose"]

JOURNAL = "progress.jsonl"


class Purpose(msgspec.Struct, frozen=True):
    """What the rows are; shards of another purpose are of no use."""

    fingerprint: str
    """Of the layout."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    last_norms: int = 0
    dtype: str = "F32"
    """How the shards store numbers."""


class Finished(msgspec.Struct, frozen=True):
    """One part of the members, whose shard is written (none if every row was there already)."""

    file: str
    digest: str
    """BLAKE3 of the shard; empty if there is none."""
    kept: tuple[int, ...]
    """Places in the part of those that are rows of the shard."""
    sources: tuple[str, ...]
    stamps: tuple[str, ...]
    """`Origin.stamp` of each source."""
    keys: tuple[tuple[str, ...], ...]
    members: tuple[str, ...]
    """Digest of each source's row, also of those that are not in the shard."""

    def is_of(self, part: Sequence[Checkpoint]) -> bool:
        """Return whether the part is these very checkpoints, unchanged."""
        return (
            self.sources == tuple(c.source for c in part)
            and self.stamps == tuple(c.origin.stamp for c in part)
            and self.keys == tuple(tuple(c.origin.keys) for c in part)
        )


class Journal:
    """The finished parts in the staging directory `folder`, in the order of their shard files."""

    def __init__(self, folder: Path, purpose: Purpose) -> None:
        self._path = folder / JOURNAL
        self._purpose = purpose
        self._found = _read(self._path, purpose)
        """By shard file. What is added besides is not kept in memory: nobody asks for it again."""
        if self._found:  # again, so that nothing is appended to half a line
            _core.write_file(self._path, _lines(purpose, *self._found.values()))
        else:
            self._path.unlink(missing_ok=True)

    @property
    def checkpoints(self) -> int:
        """Checkpoints that need not be read again, as the file has it at this moment."""
        return sum(len(entry.members) for entry in _read(self._path, self._purpose).values())

    def find(self, file: str) -> Finished | None:
        """Return what an earlier process, interrupted, has told of a shard file."""
        return self._found.get(file)

    def add(self, entry: Finished) -> None:
        """Remember a finished part, durably; a later entry for the same file counts."""
        if self._path.exists():
            with self._path.open("ab") as file:
                file.write(_lines(entry))
                file.flush()
                os.fsync(file.fileno())
        else:
            _core.write_file(self._path, _lines(self._purpose, entry))


def _lines(*records: msgspec.Struct) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def _read(path: Path, purpose: Purpose) -> dict[str, Finished]:
    """Return the entries of a journal with this purpose; the first line that is damaged ends it."""
    try:
        first, *lines = path.read_bytes().split(b"\n")
        if msgspec.json.decode(first, type=Purpose) != purpose:
            return {}
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    entries: dict[str, Finished] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line, type=Finished)
        except (msgspec.DecodeError, UnicodeDecodeError):
            break
        entries[entry.file] = entry
    return entries
