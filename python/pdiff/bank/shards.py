"""Write rows in shards of bounded size, so that an interrupted `collect` can go on after the last of them.

Identical checkpoints become one row. The journal, a file of JSON lines, lists the finished shards: its first
line says what is being written, each other one describes a shard. A line cut short by a crash is ignored.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

import msgspec

from pdiff import _core
from pdiff._core import Layout
from pdiff.bank.manifest import SHARDS, Member, ShardEntry, StoreDtype
from pdiff.bank.selection import Selection
from pdiff.checkpoints.records import Checkpoint
from pdiff.common.progress import Progress

JOURNAL = "progress.jsonl"

_SHARD_BYTES = 64 * 2**20
_TOGETHER = 32
"""Shards that are written side by side: while one waits for the disk, the next is read."""
_RUNS = 10**6
"""Numbers of trajectories are below this; a larger `run` is a metric like any other."""
_SHARD_ROWS = 4096
"""At most: little enough to lose, and to show progress with, however short the rows are."""


@dataclass
class Written:
    """What has been written."""

    shards: list[ShardEntry] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = {member.digest for member in self.members}
        """Digests of rows that are there already; another one like them is not written."""


def remove_orphans(bank: Path, shards: Sequence[ShardEntry]) -> None:
    """Remove the shard files of a bank that are not among `shards`."""
    named = {bank / shard.file for shard in shards}
    for orphan in set((bank / SHARDS).glob("*.safetensors")) - named:
        orphan.unlink()


_Part = tuple[str, Sequence[Checkpoint]]
"""The file of a shard and its checkpoints."""


class ShardWriter:
    """Writes the rows of checkpoints below the folder `bank`; what a `journal` knows is not redone."""

    def __init__(
        self, bank: Path, layout: Layout, journal: "Journal | None" = None, *, dtype: StoreDtype = "F32"
    ) -> None:
        self._bank, self._layout, self._journal, self._dtype = bank, layout, journal, dtype
        self._size = max(1, min(_SHARD_ROWS, _SHARD_BYTES // (4 * layout.dim)))

    def write(self, checkpoints: Sequence[Checkpoint], rows: Written, first: int, progress: Progress) -> None:
        """Write `checkpoints` as shards numbered from `first`, and add them to `rows`.

        Raises `InputError` for values that are not finite or do not fit the stored type and for sources that
        changed, `OSError` for a disk that is full.
        """
        (self._bank / SHARDS).mkdir(exist_ok=True)
        parts = [
            (f"{SHARDS}/{number:05d}.safetensors", checkpoints[start : start + self._size])
            for number, start in enumerate(range(0, len(checkpoints), self._size), first)
        ]
        title = f"Writing rows of {self._layout.dim:,}"
        with progress.track(title, len(checkpoints), "checkpoint") as tracker:
            for begin in range(0, len(parts), _TOGETHER):
                together = parts[begin : begin + _TOGETHER]
                for (_, part), entry in zip(together, self._written(together, rows.seen), strict=True):
                    rows.seen.update(entry.members)
                    rows.members += [_member(part[index], entry.members[index]) for index in entry.kept]
                    if entry.kept:
                        rows.shards.append(ShardEntry(entry.file, len(entry.kept), entry.digest))
                    tracker.advance(len(part))

    def _written(self, parts: Sequence[_Part], seen: set[str]) -> Iterator["Finished"]:
        """Yield what became of each part. Those not yet written are, side by side.

        `seen` has, when a part is asked for, the digests of all rows before it.
        """
        known = {file: entry for file, part in parts if (entry := self._known(file, part)) is not None}
        new = [(file, part) for file, part in parts if file not in known]
        outcomes = dict(zip((file for file, _ in new), self._write(new), strict=True))
        for file, part in parts:
            entry = known.get(file)
            if entry is None or list(entry.kept) != _distinct(entry.members, seen):
                digests, digest = outcomes.get(file) or self._write([(file, part)])[0]
                entry = self._finish(file, part, digests, digest, _distinct(digests, seen))
            yield entry

    def _known(self, file: str, part: Sequence[Checkpoint]) -> "Finished | None":
        """Return the journal's entry of a part whose shard is there as it was written."""
        entry = self._journal.found.get(file) if self._journal else None
        if entry is None or entry.identity != _identity(part):
            return None
        path = self._bank / file
        intact = path.is_file() and _core.digest_file(path) == entry.digest
        return entry if intact or not entry.kept else None

    def _write(self, parts: Sequence[_Part]) -> list[tuple[list[str], str]]:
        """Write shards; return the digest of each row, and of the file."""
        files = [(self._bank / file, [checkpoint.origin for checkpoint in part]) for file, part in parts]
        return _core.write_shards(files, self._layout, dtype=self._dtype) if files else []

    def _finish(
        self, file: str, part: Sequence[Checkpoint], digests: list[str], digest: str, kept: list[int]
    ) -> "Finished":
        """Take the rows that are there already out of the shard just written, and tell the journal."""
        if not kept:
            (self._bank / file).unlink()
            digest = ""
        elif len(kept) < len(digests):
            [(_, digest)] = self._write([(file, [part[index] for index in kept])])
        entry = Finished(file, digest, tuple(kept), _identity(part), tuple(digests))
        if self._journal is not None:
            self._journal.add(entry)
        return entry


def _identity(part: Sequence[Checkpoint]) -> str:
    """Return the BLAKE3 of sources, stamps and keys of checkpoints: equal for these very ones, unchanged."""
    told = [(checkpoint.source, checkpoint.origin.stamp, checkpoint.origin.keys) for checkpoint in part]
    return _core.digest(msgspec.json.encode(told))


def _distinct(digests: Sequence[str], seen: set[str]) -> list[int]:
    """Return the indices of the digests that are new, of equal ones the first."""
    first = {digest: index for index, digest in reversed(list(enumerate(digests))) if digest not in seen}
    return sorted(first.values())


def _member(checkpoint: Checkpoint, digest: str) -> Member:
    metrics = {name: value for name, value in checkpoint.metrics.items() if isfinite(value)}
    number = metrics.get("run", -1.0)
    run = int(metrics.pop("run")) if 0 <= number < _RUNS and number == int(number) else 0
    return Member(checkpoint.source, digest, metrics, run=run)


class Purpose(msgspec.Struct, frozen=True):
    """What the rows are; shards of another purpose are of no use."""

    fingerprint: str
    """Of the layout."""
    selection: Selection
    dtype: StoreDtype
    """How the shards store numbers."""


class Finished(msgspec.Struct, frozen=True):
    """One part of the members, whose shard is written (none if every row was there already)."""

    file: str
    digest: str
    """BLAKE3 of the shard; empty if there is none."""
    kept: tuple[int, ...]
    """Places in the part of those that are rows of the shard."""
    identity: str
    """What `_identity` returned of the part."""
    members: tuple[str, ...]
    """Digest of the row of each checkpoint of the part, also of those that are not in the shard."""


class Journal:
    """The finished parts in the staging directory `folder`, in the order of their shard files."""

    def __init__(self, folder: Path, purpose: Purpose) -> None:
        self._path = folder / JOURNAL
        self._purpose = purpose
        self.found = _read(self._path, purpose)
        """What an interrupted process has told, by shard file; what is added is not asked for again."""
        if self.found:  # again, so that nothing is appended to half a line
            _core.write_file(self._path, _lines(purpose, *self.found.values()))
        else:
            self._path.unlink(missing_ok=True)

    @property
    def checkpoints(self) -> int:
        """Checkpoints that need not be read again, as the file has it at this moment."""
        return sum(len(entry.members) for entry in _read(self._path, self._purpose).values())

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
