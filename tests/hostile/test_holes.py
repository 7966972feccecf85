"""Views of storages that are far larger than the memory: read a piece at a time, or refused."""

import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pdiff import _core
from tests import forks
from tests.hostile.bounded import MIB, opened
from tests.hostile.holes import hole
from tests.hostile.refusals import refusal
from tests.support import checkpoint

TERA = 10**12
SINGLE = "a row of others"
"""Of which each number is far from the one before it."""
VIEWS = {
    "every other": ([2, TERA // 2], [1, 2]),
    "transposed": ([10**6, 10**6], [1, 10**6]),
    SINGLE: ([2, 10**8], [1, 10**4]),
    "overlapping": ([10**6, 10**6], [1, 999_000]),
    "reversed axes": ([10**4, 10**4, 10**4], [1, 10**4, 10**8]),
}

_SCRIPT = """
import json, resource, sys, time
import pdiff.checkpoints, pdiff.cli.console, pdiff.cli.inspect
from pdiff import _core, cli

kind, room, *arguments = sys.argv[1:]
if "collect" in arguments:
    import pdiff.bank
_core.open_checkpoints([])
if int(room):
    with open("/proc/self/status") as file:
        name = {"AS": "VmSize:", "DATA": "VmData:"}[kind]
        size = next(1024 * int(line.split()[1]) for line in file if line.startswith(name))
    limit = getattr(resource, f"RLIMIT_{kind}")
    resource.setrlimit(limit, (size + int(room), size + int(room)))
sys.argv = ["pdiff", *arguments]
begin = time.process_time()
try:
    cli.main()
finally:
    sys.stdout.flush()
    print(json.dumps(time.process_time() - begin))
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    errors: str
    seconds: float
    """Of the processor, imports left out."""


def process(script: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )


def command(room: int, *arguments: str | Path, run: Any = forks.run, kind: str = "AS") -> Ended:
    """Run a command with `room` more bytes of address space than the imports take, or as many as it likes.

    With the kind DATA, maps of files are not counted, as a bank's shards are.
    """
    done = run(_SCRIPT, kind, str(room), *arguments)
    return Ended(done.returncode, done.stderr, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a kind of network for each view: three files that differ in their first number."""
    for name, (shape, strides) in VIEWS.items():
        (tmp_path / "ckpts" / name).mkdir(parents=True)
        for index in range(3):
            first = struct.pack("<f", 1.0 + index)
            hole(tmp_path / "ckpts" / name / f"{index}.pt", shape, strides, TERA, first)
    return tmp_path / "ckpts"


ROOM = [0, 2 * 10**9]


@pytest.mark.parametrize("room", ROOM)
def test_files_of_holes_are_inspected(folder: Path, room: int) -> None:
    done = command(room, "inspect", folder, run=process)  # as small as it is without torch
    assert done.code == 0, done.errors
    assert done.seconds < 2


@pytest.mark.parametrize("room", ROOM)
@pytest.mark.parametrize("view", [name for name in VIEWS if name != SINGLE])
def test_files_of_holes_do_not_fit_a_bank(folder: Path, room: int, view: str) -> None:
    """The files are well formed, and a disk that is large enough would take the bank: a matter of usage."""
    done = command(room, "collect", folder / view, "--out", folder.parent / "bank", run=process)
    assert done.code == 2
    *_, last = done.errors.splitlines()
    assert last.startswith(f"pdiff: {folder.parent / 'bank'}: needs 4 TB, ")
    assert done.seconds < 2
    assert not (folder.parent / "bank").exists()


@pytest.mark.parametrize("room", ROOM)
def test_a_hole_beside_good_files_is_refused(tmp_path: Path, room: int) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(3):
        torch.save(checkpoint(index), folder / f"{index}.pt")
    hole(folder / "z.pt", [2, TERA // 2], [1, 2], TERA)
    done = command(room, "collect", folder, "--out", tmp_path / "bank")
    assert done.code == 3
    *_, last = done.errors.splitlines()
    assert last.startswith("pdiff: 2 kinds of checkpoint")
    assert done.seconds < 2


@pytest.mark.parametrize("room", ROOM)
@pytest.mark.parametrize("name", ["inspect", "collect", "average"])
@pytest.mark.parametrize("checksums", [False, True])
def test_holes_that_are_read_for_little_are_refused(
    tmp_path: Path, room: int, name: str, checksums: bool
) -> None:
    """A read for each of 2·10^8 numbers takes minutes; a storage is read whole to verify 4 numbers of it."""
    view = ([4], [1]) if checksums else VIEWS[SINGLE]
    options = [] if name == "inspect" else ["--out", tmp_path / "out"]
    (tmp_path / "ckpts").mkdir()
    for index in range(3):
        path = tmp_path / f"ckpts/{index}.pt"
        hole(path, *view, TERA, struct.pack("<f", 1.0 + index), checksums=checksums)
    done = command(room, name, tmp_path / "ckpts", *options, run=process)
    assert done.code == 3
    assert done.seconds < 2
    why = refusal(tmp_path / "ckpts/0.pt")
    size = 4 * TERA if checksums else 4 * (10**4 * (10**8 - 1) + 1)
    assert why.startswith(f'tensor "weight" needs {size} bytes of a sparse file, of which ')
    assert why.endswith(" are on disk; accepted: storages that are there")


def test_sparse_files_of_ordinary_size_are_read(tmp_path: Path) -> None:
    """A column of a large table, of which the file system has kept nothing but the first number."""
    path = hole(tmp_path / "a.pt", [10**5], [10**4], 10**9, struct.pack("<f", 1.5))
    numbers = np.frombuffer(_core.Checkpoint([path]).read("weight"), np.float32)
    assert numbers[0] == 1.5
    assert not numbers[1:].any()


@pytest.mark.parametrize("view", [view for name, view in VIEWS.items() if name != SINGLE])
def test_a_tensor_beyond_the_memory_is_refused_by_name(
    tmp_path: Path, view: tuple[list[int], list[int]]
) -> None:
    path = hole(tmp_path / "evil.pt", *view, TERA)
    outcome = opened(path, room=64 * MIB)
    assert outcome.text.startswith(f'InputError: {path}: tensor "weight" takes ')
    assert "bytes of memory, and there is less" in outcome.text
    assert "\n" not in outcome.text
    assert outcome.memory < 8 * MIB
    assert outcome.seconds < 1


def test_a_dense_tensor_beyond_the_memory_is_refused_by_name(tmp_path: Path) -> None:
    path = hole(tmp_path / "evil.pt", [TERA], [1], TERA)
    assert 'tensor "weight" takes 4000000000000 bytes of memory' in opened(path, room=64 * MIB).text


@pytest.mark.parametrize("shape", [(3000, 2000), (2000, 3000), (64, 93_750)])
def test_a_transposed_tensor_is_streamed(tmp_path: Path, shape: tuple[int, int]) -> None:
    state = {"weight": torch.randn(shape, generator=torch.Generator().manual_seed(0)).t()}
    torch.save(state, tmp_path / "a.pt")
    row = np.empty((1, 6_000_000), np.float32)
    layout = _core.Layout([("weight", "F32", shape[::-1])])
    _core.read_rows(layout, [_core.Checkpoint([tmp_path / "a.pt"]).origin], row)
    np.testing.assert_array_equal(row[0], state["weight"].reshape(-1).numpy())


def test_collecting_transposed_tensors_takes_less_memory_than_two_rows(tmp_path: Path) -> None:
    (tmp_path / "ckpts").mkdir()
    for index in range(3):
        weight = torch.arange(16_000_000.0).reshape(4000, 4000).t()
        torch.save({"weight": weight, "bias": torch.full((1,), 1.0 * index)}, tmp_path / f"ckpts/{index}.pt")
    options = ("--select", "*", "--out", tmp_path / "bank")
    done = command(96 * MIB, "collect", tmp_path / "ckpts", *options, kind="DATA")
    assert done.code == 0, done.errors


def test_a_step_that_nobody_takes_may_be_as_long_as_it_likes(tmp_path: Path) -> None:
    path = hole(tmp_path / "a.pt", [1, 2], [2**62, 2], 3, struct.pack("<3f", 1, 2, 3))
    assert _core.Checkpoint([path]).read("weight") == struct.pack("<2f", 1, 3)
