"""Writing rows: shards of bounded size, part by part, identical checkpoints once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from pdiff import _core
from pdiff._core import Layout, Origin
from pdiff.bank.journal import Finished, Journal
from pdiff.bank.manifest import SHARDS, Member, ShardEntry, StoreDtype
from pdiff.checkpoints.records import Checkpoint
from pdiff.common.progress import Progress

__all__ = ["Rows", "ShardWriter"]

_SHARD_BYTES = 64 * 2**20
_TOGETHER = 32
"""Shards that are written side by side: while one waits for the disk, the next is read."""
_RUNS = 10**6
"""Numbers of trajectories are below this; a larger `run` is a metric like any other."""
_SHARD_ROWS = 4096
"""At most: little enough to lose, and to show progress with, however short the rows are."""


@dataclass
class Rows:
    """What has been written."""

    shards: list[ShardEntry] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Digests of rows that are there already; another one like them is not written."""


@dataclass(frozen=True)
class _Part:
    """The checkpoints of one shard."""

    file: str
    checkpoints: Sequence[Checkpoint]

    @property
    def origins(self) -> list[Origin]:
        return [checkpoint.origin for checkpoint in self.checkpoints]


class ShardWriter:
    """Writes the rows of checkpoints below the folder `bank`; what a `journal` knows is not redone."""

    def __init__(
        self, bank: Path, layout: Layout, journal: Journal | None = None, *, dtype: StoreDtype = "F32"
    ) -> None:
        self._bank, self._layout, self._journal, self._dtype = bank, layout, journal, dtype
        self._size = max(1, min(_SHARD_ROWS, _SHARD_BYTES // (4 * layout.dim)))

    def write(self, checkpoints: Sequence[Checkpoint], rows: Rows, first: int, progress: Progress) -> None:
        """Write `checkpoints` as shards numbered from `first`, and add them to `rows`.

        Raises `InputError` for values that are not finite or do not fit the stored type and for sources that
        changed, `OSError` for a disk that is full.
        """
        (self._bank / SHARDS).mkdir(exist_ok=True)
        parts = [
            _Part(f"{SHARDS}/{number:05d}.safetensors", checkpoints[start : start + self._size])
            for number, start in enumerate(range(0, len(checkpoints), self._size), first)
        ]
        title = f"Writing rows of {self._layout.dim:,}"
        with progress.track(title, len(checkpoints), "checkpoint") as tracker:
            for begin in range(0, len(parts), _TOGETHER):
                for part, entry in self._written(parts[begin : begin + _TOGETHER], rows.seen):
                    rows.seen.update(entry.members)
                    rows.members += [
                        _member(part.checkpoints[index], entry.members[index]) for index in entry.kept
                    ]
                    if entry.kept:
                        rows.shards.append(ShardEntry(entry.file, len(entry.kept), entry.digest))
                    tracker.advance(len(part.checkpoints))

    def _written(self, parts: Sequence[_Part], seen: set[str]) -> Iterator[tuple[_Part, Finished]]:
        """Yield each part and what became of it. Those not yet written are, side by side.

        `seen` has, when a part is asked for, the digests of all rows before it.
        """
        known = {part.file: entry for part in parts if (entry := self._known(part)) is not None}
        new = [part for part in parts if part.file not in known]
        outcomes = dict(zip((part.file for part in new), self._write(new), strict=True))
        for part in parts:
            entry = known.get(part.file)
            if entry is None or list(entry.kept) != _distinct(entry.members, seen):
                digests, digest = outcomes.get(part.file) or self._write([part])[0]
                entry = self._finish(part, digests, digest, _distinct(digests, seen))
            yield part, entry

    def _known(self, part: _Part) -> Finished | None:
        """Return the journal's entry of a part whose shard is there as it was written."""
        entry = self._journal.find(part.file) if self._journal else None
        if entry is None or not entry.is_of(part.checkpoints):
            return None
        path = self._bank / part.file
        intact = path.is_file() and _core.digest_file(path) == entry.digest
        return entry if intact or not entry.kept else None

    def _write(self, parts: Sequence[_Part]) -> list[tuple[list[str], str]]:
        """Write shards; return the digest of each row, and of the file."""
        files = [(self._bank / part.file, part.origins) for part in parts]
        return _core.write_shards(files, self._layout, dtype=self._dtype) if files else []

    def _finish(self, part: _Part, digests: list[str], digest: str, kept: list[int]) -> Finished:
        """Take the rows that are there already out of the shard just written, and tell the journal."""
        if not kept:
            (self._bank / part.file).unlink()
            digest = ""
        elif len(kept) < len(digests):
            fewer = _Part(part.file, [part.checkpoints[index] for index in kept])
            [(_, digest)] = self._write([fewer])
        entry = Finished(
            file=part.file,
            digest=digest,
            kept=tuple(kept),
            sources=tuple(checkpoint.source for checkpoint in part.checkpoints),
            stamps=tuple(origin.stamp for origin in part.origins),
            keys=tuple(tuple(origin.keys) for origin in part.origins),
            members=tuple(digests),
        )
        if self._journal is not None:
            self._journal.add(entry)
        return entry


def _distinct(digests: Sequence[str], seen: set[str]) -> list[int]:
    """Return the indices of the digests that are new, of equal ones the first."""
    first = {digest: index for index, digest in reversed(list(enumerate(digests))) if digest not in seen}
    return sorted(first.values())


def _is_number_of_run(value: float | None) -> bool:
    return value is not None and 0 <= value < _RUNS and value == int(value)


def _member(checkpoint: Checkpoint, digest: str) -> Member:
    metrics = {name: value for name, value in checkpoint.metrics.items() if isfinite(value)}
    run = 0
    if _is_number_of_run(metrics.get("run")):
        run = int(metrics.pop("run"))
    return Member(checkpoint.source, digest, metrics, run)
