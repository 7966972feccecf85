"""Describe checkpoints by their headers, and compare the tensors of several."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pdiff import _core
from pdiff._core import Origin, TensorInfo
from pdiff.common.progress import Tracker

FLOATING = frozenset({"F64", "F32", "F16", "BF16"})
"""The dtypes that can be modelled."""

_COMPARED = 16
"""Checkpoints compared with the first at a time: often enough to show progress."""


Shape = Literal["file", "folder", "sharded", "adapter"]
"""A file among others; one with a folder of its own; those under an index; a PEFT adapter folder."""


@dataclass(frozen=True)
class Choice:
    """Which weights of a training checkpoint are wanted; both empty means the best known ones."""

    key: str | None = None
    """The dictionary within a torch file."""
    ema: bool | None = None
    """Whether averaged weights must be taken, or must not."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Files that may be one checkpoint."""

    source: str
    """What to call it: the path relative to the folder given, always valid text, never used as a path."""
    files: tuple[Path, ...]
    shape: Shape = "file"
    folder: Path | None = None
    """Where the index or configuration is, unless it is a single file."""
    index: dict[str, str] = field(default_factory=dict)
    """Of a sharded checkpoint: source name of each tensor → name of its file."""
    adapter: dict[str, Any] = field(default_factory=dict)
    """Of an adapter: the settings that all members of a bank must share (rank, alpha, targets, base)."""


@dataclass(frozen=True)
class Found:
    """What is below the paths given, in natural order."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[tuple[str, str], ...]
    """(name, why) of what does not look like weights, or is the same file again."""
    refused: tuple[tuple[str, str], ...]
    """(name, why) of what looks like weights by its name and cannot be."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint that can be read; small, since a bank may have a million."""

    source: str
    origin: _core.Origin
    kind: str
    """Equal for checkpoints of the same network (and, of adapters, the same settings)."""
    averaged: bool = False
    """Whether the weights are averaged (EMA) ones, by their keys."""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """The first checkpoint of its kind, whole."""

    candidate: Candidate
    header: _core.Checkpoint


@dataclass(frozen=True)
class Group:
    """Checkpoints of one network, in natural order."""

    checkpoints: list[Checkpoint]
    example: Example


@dataclass(frozen=True)
class Opened:
    """The outcome of opening candidates."""

    checkpoints: list[Checkpoint]
    examples: dict[str, Example]
    """By kind."""
    refused: list[tuple[str, str]]
    """(source, why)."""

    def groups(self) -> list[Group]:
        """Return the checkpoints by their kind, the largest group first."""
        found: dict[str, Group] = {}
        for checkpoint in self.checkpoints:
            group = found.setdefault(checkpoint.kind, Group([], self.examples[checkpoint.kind]))
            group.checkpoints.append(checkpoint)
        return sorted(found.values(), key=lambda group: -len(group.checkpoints))


def judged(
    origins: Sequence[Origin],
    names: Sequence[str],
    tracker: Tracker,
    *,
    sample: bool = False,
    checksums: bool = True,
) -> dict[str, bool | None]:
    """Return for each tensor whether it differs between the checkpoints; each is compared with the first.

    With `sample`, only the first, middle and last 4 KiB of each are: None for larger ones that agree there.
    With `checksums`, parts of torch archives whose recorded CRC-32 agree count as the same unread. The
    tracker counts all but the first.
    """
    first, *rest = origins
    outcome: dict[str, bool | None] = dict.fromkeys(names, False)
    for begin in range(0, len(rest), _COMPARED):
        part = rest[begin : begin + _COMPARED]
        if same := [name for name in names if not outcome[name]]:
            flags = _core.varying_tensors([first, *part], same, sample=sample, checksums=checksums)
            unseen = [name for name in same if outcome[name] is None]
            outcome |= zip(same, flags, strict=True)
            outcome |= {name: None for name in unseen if outcome[name] is False}
        tracker.advance(len(part))
    return outcome


def stored_bytes(tensors: Sequence[TensorInfo]) -> int:
    """Return the bytes of tensors in a safetensors file, where each name has its own."""
    bits = {t.dtype: int((re.findall(r"\d+", t.dtype) or [8])[0]) for t in tensors}
    return sum(math.ceil(math.prod(t.shape) * bits[t.dtype] / 8) for t in tensors)
