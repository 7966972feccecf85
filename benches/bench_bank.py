"""Streaming a bank into training batches, against what research scripts and plain PyTorch do.

A bank of 300 rows of 2,048 numbers (the last two normalisation layers of a ResNet-18), batches of 50,
normalised a tensor. Prints how many times longer each peer takes for the same batch.

    python benches/bench_bank.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

import pdiff
from pdiff.cli.console import Console
from timing import compare

MEMBERS, BATCH = 300, 50
SHAPES = {f"layer4.1.bn{n}.{leaf}": (512,) for n in (1, 2) for leaf in ("weight", "bias")}


def main() -> None:
    """Print the table."""
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ckpts").mkdir()
        for index in range(MEMBERS):
            state = {key: torch.randn(shape, generator=generator) for key, shape in SHAPES.items()}
            save_file(state, folder / "ckpts" / f"{index}.safetensors")
            torch.save(state, folder / f"{index}.pth")
        bank = pdiff.collect(folder / "ckpts", out=folder / "bank")
        normalizer = bank.normalizer("tensor")
        indices = np.random.default_rng(0).integers(MEMBERS, size=BATCH)
        chosen = torch.from_numpy(indices)
        memory = bank.batch(range(MEMBERS))
        repeats = torch.tensor([segment.end - segment.begin for segment in bank.layout.segments])
        mean = bank.statistics["tensor_mean"].float().repeat_interleave(repeats)
        std = bank.statistics["tensor_std"].float().repeat_interleave(repeats)
        out = torch.empty(BATCH, bank.dim)

        def ours() -> torch.Tensor:
            return bank.batch(indices, normalizer, out=out)

        def in_memory() -> torch.Tensor:
            return (memory[chosen] - mean) / std

        def per_item_files() -> torch.Tensor:
            rows = []
            for index in indices:
                state = torch.load(folder / f"{index}.pth", weights_only=True)
                parts = [state[s.name].reshape(-1) for s in bank.layout.segments]
                moments = zip(
                    parts, bank.statistics["tensor_mean"], bank.statistics["tensor_std"], strict=True
                )
                rows.append(torch.cat([(part - m) / s for part, m, s in moments]))
            return torch.stack(rows).float()

        assert torch.allclose(ours(), in_memory(), atol=1e-5)
        assert torch.allclose(ours(), per_item_files(), atol=1e-5)
        rows = []
        for title, peer in (
            ("files loaded and normalised an item at a time", per_item_files),
            ("(W[indices] − mean) / std, all in memory", in_memory),
        ):
            found = compare(ours, peer)
            rows.append(
                [title, f"{1e6 * found.ours:,.0f}", f"{1e6 * found.peer:,.0f}", f"{found.ratio:,.2f}×"]
            )
        Console().table(
            f"A batch of {BATCH} × {bank.dim:,}, {torch.get_num_threads()} threads",
            ["peer", "ours, µs", "peer, µs", "peer / ours"],
            rows,
        )


if __name__ == "__main__":
    main()
