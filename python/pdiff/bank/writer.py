"""Writing a bank's files: shards, base, statistics and, last, the manifest."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from pdiff import _core
from pdiff._core import Layout
from pdiff.artifacts import write_tensors
from pdiff.bank.manifest import (
    BASE,
    FORMAT,
    STATISTICS,
    Manifest,
    Member,
    ShardEntry,
    TaskRef,
    TensorEntry,
)
from pdiff.bank.sources import Checkpoint
from pdiff.errors import InputError
from pdiff.progress import Progress

__all__ = ["MINIMUM_MEMBERS", "write_bank"]

MINIMUM_MEMBERS = 3
_SHARDS = "shards"
_SHARD_BYTES = 256 * 2**20


def write_bank(
    bank: Path,
    layout: Layout,
    checkpoints: Sequence[Checkpoint],
    *,
    base: Path,
    task: TaskRef | None,
    progress: Progress,
) -> None:
    """Write the rows of `checkpoints`, identical ones once, into the empty directory `bank`.

    `base` is the safetensors file that holds everything that is not generated.
    """
    entries, digests = _write_shards(bank, layout, checkpoints, progress)
    distinct: dict[str, Checkpoint] = {}
    for digest, checkpoint in zip(digests, checkpoints, strict=True):
        distinct.setdefault(digest, checkpoint)
    if len(distinct) < len(checkpoints):
        progress.message(f"{len(checkpoints) - len(distinct)} identical checkpoints count once")
        shutil.rmtree(bank / _SHARDS)
        checkpoints = list(distinct.values())
        entries, digests = _write_shards(bank, layout, checkpoints, progress)
    if len(checkpoints) < MINIMUM_MEMBERS:
        raise InputError(f"{len(checkpoints)} different checkpoints, at least {MINIMUM_MEMBERS} are needed")
    statistics = _core.statistics([_core.Shard(bank / entry.file) for entry in entries], layout)
    write_tensors(
        bank / STATISTICS,
        {name: torch.frombuffer(values, dtype=torch.float64) for name, values in statistics.items()},
    )
    _core.write_file(bank / BASE, base.read_bytes())
    Manifest(
        format=FORMAT,
        layout=tuple(TensorEntry(s.name, s.dtype, s.shape) for s in layout.segments),
        fingerprint=layout.fingerprint,
        dim=layout.dim,
        shards=tuple(entries),
        base_digest=_core.digest_file(bank / BASE),
        statistics_digest=_core.digest_file(bank / STATISTICS),
        members=tuple(_member(c, digest) for c, digest in zip(checkpoints, digests, strict=True)),
        task=task,
    ).write(bank)


def _write_shards(
    bank: Path, layout: Layout, checkpoints: Sequence[Checkpoint], progress: Progress
) -> tuple[list[ShardEntry], list[str]]:
    """Write the rows in shards of bounded size; return the shards and each row's digest."""
    (bank / _SHARDS).mkdir()
    rows = max(1, _SHARD_BYTES // (4 * layout.dim))
    entries: list[ShardEntry] = []
    digests: list[str] = []
    with progress.track(f"Writing rows of {layout.dim:,}", len(checkpoints), "checkpoint") as tracker:
        for start in range(0, len(checkpoints), rows):
            part = [c.path for c in checkpoints[start : start + rows]]
            file = f"{_SHARDS}/{len(entries):05d}.safetensors"
            digests += _core.write_shard(bank / file, layout, part)
            entries.append(ShardEntry(file, len(part), _core.digest_file(bank / file)))
            tracker.advance(len(part))
    return entries, digests


def _member(checkpoint: Checkpoint, digest: str) -> Member:
    metrics = dict(checkpoint.metrics)
    run = int(metrics.pop("run", 0))
    return Member(checkpoint.source, digest, metrics, run)
