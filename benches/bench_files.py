"""Reading checkpoint files, against the libraries that wrote them and against a bare read.

Files of ResNet-18 size (122 tensors, 45 MB), of which the four tensors of the last two normalisation layers
are wanted, or all. Prints how many times longer each peer takes a file; the files are in the page cache.

    python benches/bench_files.py [FILES]       (100 of each format: 9 GB in the temporary folder)
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))

from pdiff import _core
from pdiff.cli.console import Console
from timing import compare

WANTED = tuple(f"layer4.1.bn{n}.{leaf}" for n in (1, 2) for leaf in ("bias", "weight"))
SUFFIXES = ("pth", "safetensors")
State = dict[str, torch.Tensor]


def main() -> None:
    """Print the tables."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        files = {suffix: list(write(Path(folder), suffix, count)) for suffix in SUFFIXES}
        few(files)
        everything(files["safetensors"])


def write(folder: Path, suffix: str, count: int) -> Iterator[Path]:
    """Write `count` checkpoints that differ in the tensors wanted."""
    state = torchvision.models.resnet18().state_dict()
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        for name in WANTED:
            state[name] = torch.randn(state[name].shape, generator=generator)
        path = folder / f"step-{index}.{suffix}"
        if suffix == "pth":
            torch.save(state, path)
        else:
            save_file(state, path)
        yield path


def few(files: dict[str, list[Path]]) -> None:
    """Four small tensors of each file, as rows."""
    rows = []
    for title, suffix, load in (
        ("torch.load(weights_only)", "pth", load_torch),
        ("torch.load(weights_only, mmap)", "pth", load_mapped),
        ("safe_open", "safetensors", load_safetensors),
    ):
        paths = files[suffix]
        layout, origins = planned(paths, WANTED)
        out = np.empty((len(paths), layout.dim), np.float32)

        def peer(
            paths: list[Path] = paths, load: Callable[[Path], list[torch.Tensor]] = load
        ) -> torch.Tensor:
            return torch.stack([torch.cat(load(path)) for path in paths])

        def ours(out: np.ndarray = out, layout: _core.Layout = layout, origins: list = origins) -> None:
            _core.read_rows(layout, origins, out)

        def plan(paths: list[Path] = paths, out: np.ndarray = out) -> None:
            layout, origins = planned(paths, WANTED)
            _core.read_rows(layout, origins, out)

        ours()
        assert np.array_equal(out, peer().numpy())
        for what, side in (("", ours), (", planning included", plan)):
            found = compare(side, peer, rounds=5)
            micros = [f"{1e6 * seconds / len(paths):,.0f}" for seconds in (found.ours, found.peer)]
            rows.append([title + what, suffix, *micros, f"{found.ratio:,.1f}×"])
    print_table(f"4 of 122 tensors, {len(paths)} files", "µs", rows)


def everything(paths: list[Path]) -> None:
    """All floating tensors of one file, as a row: one thread on each side."""
    names = [t.name for t in _core.Checkpoint([paths[0]]).tensors if t.dtype == "F32"]
    layout, origins = planned(paths, names)
    out = np.empty((1, layout.dim), np.float32)
    buffer = bytearray(paths[0].stat().st_size)
    ours_next, peer_next = cycle(origins), cycle(paths)

    def ours() -> None:
        _core.read_rows(layout, [next(ours_next)], out)

    def library() -> torch.Tensor:
        state = load_file(next(peer_next))
        return torch.cat([state[name].reshape(-1) for name in names])

    def bare() -> None:
        with next(peer_next).open("rb", buffering=0) as file:
            file.readinto(buffer)

    rows = []
    for title, peer in (("safetensors.torch.load_file + cat", library), ("read() of the same bytes", bare)):
        found = compare(ours, peer)
        millis = [f"{1e3 * seconds:,.2f}" for seconds in (found.ours, found.peer)]
        rows.append([title, "safetensors", *millis, f"{found.ratio:,.2f}×"])
    print_table(f"All {layout.dim:,} numbers of one file", "ms", rows)


def planned(paths: list[Path], names: tuple[str, ...] | list[str]) -> tuple[_core.Layout, list[_core.Origin]]:
    """Open every file and lay out the tensors `names`."""
    summaries = _core.open_checkpoints([[path] for path in paths])
    infos = {t.name: t for t in _core.Checkpoint([paths[0]]).tensors}
    layout = _core.Layout([(name, infos[name].dtype, infos[name].shape) for name in names])
    return layout, [summary.origin for summary in summaries]


def load_torch(path: Path) -> list[torch.Tensor]:
    """Return the tensors wanted, by torch.load."""
    state: State = torch.load(path, weights_only=True)
    return [state[name] for name in WANTED]


def load_mapped(path: Path) -> list[torch.Tensor]:
    """Return the tensors wanted, by torch.load of a map."""
    state: State = torch.load(path, weights_only=True, mmap=True)
    return [state[name] for name in WANTED]


def load_safetensors(path: Path) -> list[torch.Tensor]:
    """Return the tensors wanted, by safe_open."""
    with safe_open(path, "pt") as file:
        return [file.get_tensor(name) for name in WANTED]


def print_table(title: str, unit: str, rows: list[list[str]]) -> None:
    """Print one table of ratios."""
    header = ["peer", "files", f"ours, {unit} a file", f"peer, {unit} a file", "peer / ours"]
    Console().table(f"{title}, {torch.get_num_threads()} threads", header, rows)


if __name__ == "__main__":
    main()
