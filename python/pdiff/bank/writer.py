"""Write what stands beside a bank's rows: base, statistics, companions and, last, the manifest."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from pdiff import _core
from pdiff._core import Layout, Origin, TensorInfo
from pdiff.bank.manifest import (
    BASE,
    FORMAT,
    SOURCE,
    STATISTICS,
    FileEntry,
    Manifest,
    ShardEntry,
    StoreDtype,
    TaskRef,
    TensorEntry,
)
from pdiff.bank.shards import Written
from pdiff.bank.source import describe_source, write_companions
from pdiff.checkpoints.records import Example, stored_bytes
from pdiff.common.artifacts import write_tensors
from pdiff.common.errors import InputError
from pdiff.common.wording import counted

MINIMUM_MEMBERS = 3
_SLACK = 2**20
"""Headers, manifest and journal of a small bank; large ones take a share of the rows besides."""


def finish_bank(
    bank: Path,
    layout: Layout,
    rows: Written,
    *,
    example: Example,
    kind: str,
    base: Origin,
    base_given: bool,
    dtype: StoreDtype,
    task: TaskRef | None,
) -> None:
    """Write everything but the rows, which are in `bank` already, the manifest last.

    `base` holds everything that is not generated. Raises `InputError` for too few members.
    """
    if len(rows.members) < MINIMUM_MEMBERS:
        found = counted(len(rows.members), "different checkpoint")
        raise InputError(f"{found}, at least {MINIMUM_MEMBERS} are needed")
    statistics = write_statistics(bank, STATISTICS, rows.shards, layout)
    _core.write_checkpoint(bank / BASE, base, {"format": "pt"})
    source = describe_source(example)
    companions = write_companions(example.candidate, bank / SOURCE)
    Manifest(
        format=FORMAT,
        layout=tuple(TensorEntry(s.name, s.dtype, s.shape) for s in layout.segments),
        fingerprint=layout.fingerprint,
        dim=layout.dim,
        dtype=dtype,
        shards=tuple(rows.shards),
        base=FileEntry(BASE, _core.digest_file(bank / BASE)),
        statistics=statistics,
        members=tuple(rows.members),
        kind=kind,
        source=msgspec.structs.replace(source, companions=companions),
        tied={t.name: t.tied_to for t in example.header.tensors if t.tied_to is not None},
        base_given=base_given,
        task=task,
    ).write(bank)


def write_statistics(bank: Path, file: str, shards: Sequence[ShardEntry], layout: Layout) -> FileEntry:
    """Write statistics over the rows of all shards to `file`."""
    statistics = _core.statistics([_core.Shard(bank / shard.file) for shard in shards], layout)
    write_tensors(
        bank / file,
        {name: torch.frombuffer(values, dtype=torch.float64) for name, values in statistics.items()},
    )
    return FileEntry(file, _core.digest_file(bank / file))


def rows_bytes(members: int, layout: Layout, dtype: StoreDtype) -> int:
    """Return the bytes that `members` rows and the statistics take on disk, generously."""
    statistics = 16 * layout.dim + 40 * len(layout.segments)
    size = 4 if dtype == "F32" else 2
    return members * (size * layout.dim + 512) + statistics + _SLACK


def bank_bytes(members: int, layout: Layout, dtype: StoreDtype, tensors: Sequence[TensorInfo]) -> int:
    """Return the bytes of a whole bank of checkpoints that hold `tensors`."""
    return rows_bytes(members, layout, dtype) + stored_bytes(tensors)
