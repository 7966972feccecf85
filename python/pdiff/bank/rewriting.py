"""Write a bank again with other rows: the same members, tensors, base and companions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pdiff import _core
from pdiff.bank.bank import Bank
from pdiff.bank.manifest import BASE, MANIFEST, SHARDS, STATISTICS, FileEntry, ShardEntry
from pdiff.bank.writer import rows_bytes, write_companions, write_statistics
from pdiff.common.arrays import Array, write_arrays
from pdiff.common.directories import require_space, staged_directory

Change = Callable[[int, NDArray[Any]], NDArray[Any]]
"""Member i, and its row [D] as it is stored → another row of the same dtype."""


def rewrite(
    bank: Bank,
    out: Path,
    change: Change,
    *,
    aligned: str,
    overwrite: bool = False,
) -> Bank:
    """Write `bank` to directory `out` with `change(i, row)` for row i, and open it.

    Rows [D] are what is stored (`Bank.row`), and so is what `change` returns; a shard is in memory at a time.
    `aligned` is the manifest's. Raises `UsageError` for a directory that must not be replaced.
    """
    manifest = bank.manifest
    base = bank.path / manifest.base.file
    with staged_directory(out, MANIFEST, overwrite) as staged:
        require_space(out, rows_bytes(len(bank), bank.layout, manifest.dtype) + base.stat().st_size)
        (staged / SHARDS).mkdir()
        shards = [_shard(bank, index, staged, change) for index in range(len(bank.shards))]
        _core.write_checkpoint(staged / BASE, _core.Checkpoint([base]).origin, {"format": "pt"})
        write_companions(staged, bank.companions())
        msgspec.structs.replace(
            manifest,
            shards=tuple(shards),
            base=FileEntry(BASE, _core.digest_file(staged / BASE)),
            statistics=write_statistics(staged, STATISTICS, shards, bank.layout),
            aligned=aligned,
        ).write(staged)
    return Bank.open(out)


def _shard(bank: Bank, index: int, staged: Path, change: Change) -> ShardEntry:
    begin, end = bank.starts[index : index + 2].tolist()
    rows = np.stack([change(row, bank.row(row)) for row in range(begin, end)])
    file = f"{SHARDS}/{index:05d}.safetensors"
    write_arrays(staged / file, {"rows": Array(bank.manifest.dtype, rows)})
    return ShardEntry(file, end - begin, _core.digest_file(staged / file))
