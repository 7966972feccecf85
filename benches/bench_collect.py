"""Collecting whole networks into a bank, statistics included, against copying their files.

100 checkpoints of ResNet-18 size (45 MB), all of whose floating tensors differ. Files are in the page cache;
what is written is made durable on both sides (`cp` is followed by `sync`; without it, it is shown too).

    python benches/bench_collect.py [FILES]
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))

import pdiff
from timing import print_rates

ROUNDS = 3


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write(folder / "ckpts", count)
        size = sum(path.stat().st_size for path in source.iterdir())
        sides = {
            "pdiff collect": lambda out: pdiff.collect(source, out=out),
            "cp": lambda out: copy(source, out),
            "cp, then sync": lambda out: (copy(source, out), sync(out)),
        }
        seconds: dict[str, list[float]] = {title: [] for title in sides}
        for round_ in range(ROUNDS):
            order = list(sides)  # each side comes after each other one: it finds the memory that it left
            for title in order[round_:] + order[:round_]:
                seconds[title].append(timed(sides[title], folder / "out"))
        seconds["load_file + stack + save"] = [timed(lambda out: stack(source, out), folder / "out")]
    print_rates(seconds, count, size)


def write(folder: Path, count: int) -> Path:
    """Write checkpoints that differ in every floating tensor."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    for index in range(count):
        for name, tensor in state.items():
            if tensor.is_floating_point():
                state[name] = tensor + 1e-3 * torch.rand(tensor.shape, generator=generator)
        save_file(state, folder / f"step-{index}.safetensors")
    return folder


def copy(source: Path, out: Path) -> None:
    """Copy the folder as the shell does."""
    subprocess.run(["cp", "-r", source, out], check=True)


def sync(out: Path) -> None:
    """Make what was written durable."""
    subprocess.run(["sync", "--file-system", out], check=True)


def stack(source: Path, out: Path) -> None:
    """Do what a script does: everything in memory, then one file."""
    states = [load_file(path) for path in sorted(source.iterdir())]
    names = [name for name, tensor in states[0].items() if tensor.is_floating_point()]
    rows = torch.stack([torch.cat([state[name].reshape(-1) for name in names]) for state in states])
    out.mkdir()
    save_file({"rows": rows, "mean": rows.mean(dim=0), "std": rows.std(dim=0)}, out / "bank.safetensors")


def timed(side: Callable[[Path], object], out: Path) -> float:
    """Time one run into an absent folder, with nothing left to be written from before."""
    sync(out.parent)
    begin = time.perf_counter()
    side(out)
    seconds = time.perf_counter() - begin
    shutil.rmtree(out)
    return seconds


if __name__ == "__main__":
    main()
