"""Streaming a bank into training batches, against research scripts, plain PyTorch and a bare copy.

Prints how many times longer each peer takes for the same batch.

    python benches/bench_bank.py
"""

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

import pdiff
from pdiff.bank import Bank
from pdiff.cli.console import Console
from sparse import sparse_bank
from timing import compare

MEMBERS, BATCH = 300, 50
SHAPES = {f"layer4.1.bn{n}.{leaf}": (512,) for n in (1, 2) for leaf in ("bias", "weight")}
RESNET18 = 11_200_000


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_batches(folder)
        large_batches(folder)
        many_members(folder)


def small_batches(folder: Path) -> None:
    """300 rows of 2,048 numbers (the last two normalisation layers of a ResNet-18), batches of 50."""
    generator = torch.Generator().manual_seed(0)
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        state = {key: torch.randn(shape, generator=generator) for key, shape in SHAPES.items()}
        save_file(state, folder / "ckpts" / f"{index}.safetensors")
        torch.save(state, folder / f"{index}.pth")
    bank = pdiff.collect(folder / "ckpts", out=folder / "bank")
    indices = np.random.default_rng(0).integers(MEMBERS, size=BATCH)
    rows = []
    for title, peer in (
        ("files loaded and normalised an item at a time", per_item(bank, folder, indices)),
        ("(W[indices] − mean) / std, all in memory", in_memory(bank, indices)),
    ):
        ours = gathering(bank, indices)
        assert torch.allclose(ours(), peer(), atol=1e-5)
        found = compare(ours, peer)
        rows.append([title, f"{1e6 * found.ours:,.0f}", f"{1e6 * found.peer:,.0f}", f"{found.ratio:,.2f}×"])
    title = f"A batch of {BATCH} × {bank.dim:,}, {torch.get_num_threads()} threads"
    Console().table(title, ["peer", "ours, µs", "peer, µs", "peer / ours"], rows)


def gathering(bank: Bank, indices: np.ndarray) -> Callable[[], torch.Tensor]:
    """Return what gathers the batch, normalised a tensor, into the same memory each time."""
    normalizer, out = bank.normalizer("tensor"), torch.empty(len(indices), bank.dim)
    return lambda: bank.batch(indices, normalizer, out=out)


def per_item(bank: Bank, folder: Path, indices: np.ndarray) -> Callable[[], torch.Tensor]:
    """Return the loader of research scripts: a file, a normalisation and a concatenation an item."""
    mean, std = bank.statistics["tensor_mean"], bank.statistics["tensor_std"]

    def load() -> torch.Tensor:
        rows = []
        for index in indices:
            state = torch.load(folder / f"{index}.pth", weights_only=True)
            parts = [state[segment.name].reshape(-1) for segment in bank.layout.segments]
            rows.append(torch.cat([(part - m) / s for part, m, s in zip(parts, mean, std, strict=True)]))
        return torch.stack(rows).float()

    return load


def in_memory(bank: Bank, indices: np.ndarray) -> Callable[[], torch.Tensor]:
    """Return the shortest expression in PyTorch, everything in memory."""
    memory, chosen = bank.batch(range(MEMBERS)), torch.from_numpy(indices)
    repeats = torch.tensor([segment.end - segment.begin for segment in bank.layout.segments])
    mean = bank.statistics["tensor_mean"].float().repeat_interleave(repeats)
    std = bank.statistics["tensor_std"].float().repeat_interleave(repeats)
    return lambda: (memory[chosen] - mean) / std


def large_batches(folder: Path) -> None:
    """16 rows of a whole ResNet-18, against a copy of as many bytes by as many threads."""
    indices, threads = np.arange(16), torch.get_num_threads()
    source, out = np.ones((16, RESNET18), np.float32), torch.zeros(16, RESNET18)
    target = out.numpy()
    parts = [slice(16 * i // threads, 16 * (i + 1) // threads) for i in range(threads)]
    rows = []
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        for dtype in ("F32", "BF16"):
            bank = sparse_bank(folder / f"large-{dtype}", 16, RESNET18, dtype)
            normalizer = bank.normalizer("tensor")

            def ours(bank: Bank = bank, normalizer: pdiff.bank.Normalizer = normalizer) -> None:
                bank.batch(indices, normalizer, out=out)

            found = compare(ours, copy, rounds=9)
            speed = 4e-9 * out.numel() / found.ours
            rows.append([f"{dtype} → f32, normalised", f"{1e3 * found.ours:.0f}", f"{1e3 * found.peer:.0f}",
                         f"{speed:.1f}", f"{found.ratio:.2f}×"])  # fmt: skip
    title = (
        f"A batch of 16 × {RESNET18:,}, {threads} threads; the floor is numpy.copyto of f32, all in memory"
    )
    Console().table(title, ["stored", "ours, ms", "copy, ms", "ours, GB/s out", "copy / ours"], rows)


def many_members(folder: Path) -> None:
    """100,000 rows of 2,048 numbers: how long opening takes, and a random batch after a first epoch."""
    path = sparse_bank(folder / "many", 100_000, 2048).path
    begin = time.perf_counter()
    bank = Bank.open(path)
    seconds = time.perf_counter() - begin
    few = sparse_bank(folder / "few", MEMBERS, 2048)
    normalizer, out = few.normalizer("tensor"), torch.empty(BATCH, 2048)
    for begin in range(0, len(bank), 1000):  # an epoch: files in the page cache, pages mapped
        bank.batch(range(begin, begin + 1000), normalizer)
    random = np.random.default_rng(0)
    memory = bank.batch(range(len(bank)))
    mean, std = torch.zeros(2048), torch.full((2048,), 2.0)

    def ours() -> torch.Tensor:
        return bank.batch(random.integers(len(bank), size=BATCH), normalizer, out=out)

    def torch_in_memory() -> torch.Tensor:
        return (memory[torch.from_numpy(random.integers(len(bank), size=BATCH))] - mean) / std

    def of_few() -> torch.Tensor:
        return few.batch(random.integers(len(few), size=BATCH), normalizer, out=out)

    found, small = compare(ours, torch_in_memory), compare(ours, of_few)
    columns = ["opens in, s", "random batch of 50, µs", "PyTorch in memory, µs", "of 300 members, µs"]
    numbers = [found.ours, found.peer, small.peer]
    cells = [f"{seconds:.2f}", *(f"{1e6 * number:.0f}" for number in numbers)]
    Console().table("A bank of 100,000 × 2,048", columns, [cells])


if __name__ == "__main__":
    main()
