"""Averaging whole networks, against reading their files and against torch's own loop.

100 safetensors files of ResNet-18 (45 MB each), in the page cache. `cat` of the same bytes to /dev/null is
the floor: every byte is read once. The loop is torch's `AveragedModel`, fed by `load_file`.

    python benches/bench_average.py [FILES]
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

sys.path.insert(0, str(Path(__file__).parent))

import pdiff
from timing import print_rates

ROUNDS = 5


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "ckpts"
        write(folder, count)
        size = sum(path.stat().st_size for path in folder.iterdir())
        sides: dict[str, Callable[[], object]] = {
            "pdiff average": lambda: pdiff.average(folder, out=Path(name) / "average", overwrite=True),
            "cat > /dev/null": lambda: subprocess.run(f"cat {folder}/* > /dev/null", shell=True, check=True),
        }
        seconds: dict[str, list[float]] = {title: [] for title in sides}
        for round_ in range(ROUNDS):
            for title in list(sides)[:: 1 if round_ % 2 else -1]:
                seconds[title].append(timed(sides[title]))
        seconds["load_file + AveragedModel"] = [timed(lambda: loop(folder))]
    print_rates(seconds, count, size)


def write(folder: Path, count: int) -> None:
    """Write checkpoints that differ in every floating tensor."""
    folder.mkdir()
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    for index in range(count):
        moved = {
            name: tensor * (1 + 0.001 * torch.randn(1)) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
        save_file(moved, folder / f"step-{index:05d}.safetensors")


def loop(folder: Path) -> None:
    """Average as torch does, one file at a time."""
    network = torchvision.models.resnet18()
    averaged = AveragedModel(network, use_buffers=True)
    for path in sorted(folder.iterdir()):
        network.load_state_dict(load_file(path))
        averaged.update_parameters(network)


def timed(side: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begin = time.perf_counter()
    side()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
