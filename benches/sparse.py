"""Banks of any size whose rows are holes in files: zeros that take no space on the disk.

Read, they take memory in the page cache and time like any other bytes.
"""

from pathlib import Path

import torch

from pdiff import _core
from pdiff.bank import Bank, Member
from pdiff.bank.manifest import (
    BASE,
    FORMAT,
    SHARDS,
    STATISTICS,
    FileEntry,
    Manifest,
    ShardEntry,
    StoreDtype,
    TensorEntry,
)
from pdiff.common.tensors import write_tensors

__all__ = ["resident_mb", "sparse_bank"]

_SHARD_BYTES = 64 * 2**20


def sparse_bank(path: Path, members: int, dim: int, dtype: StoreDtype = "F32", tensors: int = 8) -> Bank:
    """Make a bank of `members` rows of `dim` zeros, in shards of 64 MiB as `pdiff collect` makes them."""
    (path / SHARDS).mkdir(parents=True)
    bounds = [dim * i // tensors for i in range(tensors + 1)]
    entries = [TensorEntry(f"layer.{i}", "F32", (bounds[i + 1] - bounds[i],)) for i in range(tensors)]
    layout = _core.Layout([(e.name, e.dtype, e.shape) for e in entries])
    size = dim * (4 if dtype == "F32" else 2)
    rows = max(1, min(4096, _SHARD_BYTES // (4 * dim)))
    shards = []
    for first in range(0, members, rows):
        count = min(rows, members - first)
        file = f"{SHARDS}/{len(shards):05d}.safetensors"
        _write_holes(path / file, dtype, count, dim, count * size)
        shards.append(ShardEntry(file, count, ""))
    zero = torch.zeros(tensors, dtype=torch.float64)
    write_tensors(path / STATISTICS, {"tensor_mean": zero, "tensor_std": zero + 2, "log_scale": zero + 1})
    write_tensors(path / BASE, {})
    Manifest(
        format=FORMAT,
        layout=tuple(entries),
        fingerprint=layout.fingerprint,
        dim=dim,
        dtype=dtype,
        shards=tuple(shards),
        base=FileEntry(BASE, _core.digest_file(path / BASE)),
        statistics=FileEntry(STATISTICS, _core.digest_file(path / STATISTICS)),
        members=tuple(
            Member(f"step-{i}.safetensors", f"{i:064x}", {"accuracy": 0.9}) for i in range(members)
        ),
        kind="",
    ).write(path)
    return Bank.open(path)


def _write_holes(path: Path, dtype: str, rows: int, dim: int, size: int) -> None:
    header = f'{{"rows":{{"dtype":"{dtype}","shape":[{rows},{dim}],"data_offsets":[0,{size}]}}}}'
    header += " " * (-(len(header) + 8) % 64)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + size)


def resident_mb() -> float:
    """Return this process's memory in MB, without the page cache that is mapped into it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    return float("nan")
