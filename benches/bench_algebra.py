"""Gram matrix, combinations and statistics of banks that need not fit in memory.

python benches/bench_algebra.py [GB]       (the size of the large bank; 30, made of holes)
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from pdiff import _core
from pdiff.bank import Bank
from pdiff.cli.console import Console
from sparse import resident_mb, sparse_bank
from timing import compare

MEMBERS, RESNET18, WANTED = 300, 11_200_000, 50
BLOCK = 1 << 18
"""Columns that the peer has in memory."""


def main() -> None:
    """Print the tables."""
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as name:
        products(Path(name))
        larger_than_memory(Path(name), size)


def products(folder: Path) -> None:
    """300 whole ResNet-18s on disk, against torch on a block of as many rows in memory."""
    bank = sparse_bank(folder / "bank", MEMBERS, RESNET18)
    normalizer = bank.normalizer("tensor")
    block = torch.randn(MEMBERS, BLOCK)
    weights = torch.randn(WANTED, MEMBERS)
    before = resident_mb()
    rows = []
    for title, ours, peer, rows_out in (
        ("Gram matrix", lambda: bank.gram(normalizer), lambda: block @ block.T, MEMBERS),
        ("50 combinations", lambda: bank.combine(weights, normalizer), lambda: weights @ block, WANTED),
    ):
        found = compare(ours, peer, rounds=3)
        flops = 2e-9 * MEMBERS * rows_out
        ours_speed, peer_speed = flops * RESNET18 / found.ours, flops * BLOCK / found.peer
        read = 4e-9 * MEMBERS * RESNET18 / found.ours
        figures = [found.ours, ours_speed, peer_speed, ours_speed / peer_speed, read, resident_mb() - before]
        rows.append([title, *(f"{figure:,.2f}" for figure in figures)])
    Console().table(
        f"{MEMBERS} × {RESNET18:,} on disk, {torch.get_num_threads()} threads",
        [
            "operation",
            "ours, s",
            "ours, GFLOP/s",
            "torch in memory",
            "ours / torch",
            "read, GB/s",
            "grew, MB",
        ],
        rows,
    )


def larger_than_memory(folder: Path, gigabytes: float) -> None:
    """One epoch of batches, statistics and a Gram matrix, against `cat bank > /dev/null`."""
    members = int(gigabytes * 1e9 / (4 * RESNET18))
    bank = sparse_bank(folder / "large", members, RESNET18)
    normalizer = bank.normalizer("tensor")
    size = 4e-9 * members * RESNET18
    out = torch.empty(8, RESNET18)

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(members)
        for begin in range(0, members - 7, 8):
            bank.batch(order[begin : begin + 8], normalizer, out=out)

    steps = [
        ("cat bank > /dev/null", lambda: read_all(bank)),
        ("an epoch of batches of 8", epoch),
        ("statistics", lambda: _core.write_statistics(folder / "s", bank._shards, bank.layout)),
        ("Gram matrix", lambda: bank.gram(normalizer)),
    ]
    rows = []
    for title, step in steps:
        begin = time.perf_counter()
        step()
        seconds = time.perf_counter() - begin
        rows.append([title, f"{seconds:.1f}", f"{size / seconds:.2f}", f"{resident_mb():,.0f}"])
    Console().table(
        f"A bank of {size:.0f} GB, {members} × {RESNET18:,}", ["step", "s", "GB/s", "memory, MB"], rows
    )


def read_all(bank: Bank) -> None:
    """Read every shard as `cat` does."""
    buffer = bytearray(1 << 17)
    for entry in bank.manifest.shards:
        with (bank.path / entry.file).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


if __name__ == "__main__":
    main()
