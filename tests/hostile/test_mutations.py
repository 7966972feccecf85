"""A hundred thousand mutations of valid files of each format: none crashes, hangs or takes the memory."""

import json
import os
import random
import re
import subprocess
import sys
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pdiff import _core
from tests.hostile.mutate import Seed, mutated
from tests.hostile.refusals import read_all
from tests.support import SAFE_GLOBALS, content

ROOT = Path(__file__).parents[2]
COUNT = 100_000
MIB = 2**20


def small() -> dict[str, torch.Tensor]:
    """A state dict of several types, with shared, transposed and overlapping views."""
    base = torch.arange(12.0).reshape(3, 4)
    return {
        "layer.weight": base,
        "layer.transposed": base.T,
        "layer.row": base[1, 1:3],
        "head.weight": torch.ones(2, 2, dtype=torch.bfloat16),
        "head.expanded": torch.ones(1, dtype=torch.float16).expand(3),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def trained() -> dict[str, Any]:
    """A training checkpoint as scripts save it."""
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.BatchNorm1d(3)))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    beside = {"epoch": 3, "best": np.float64(0.5), "args": Namespace(lr=0.1, path=Path("x")), "seeds": {1, 2}}
    return {"state_dict": state, "optimizer": optimizer.state_dict(), **beside}


def save_safetensors(folder: Path) -> None:
    plain = {name: tensor.clone().contiguous() for name, tensor in small().items()}
    save_file(plain, folder / "small", {"text": "a \N{SNOWMAN}"})
    save_file(
        {
            f"model.{i}.weight": torch.ones(i, dtype=dtype)
            for i, dtype in enumerate((torch.uint8, torch.int64))
        },
        folder / "typed",
    )


def save_torch(folder: Path, *, new: bool) -> None:
    for protocol in (2, 4):
        save = partial(torch.save, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
        save(small(), folder / f"small-{protocol}")
        save(trained(), folder / f"trained-{protocol}")
    linear = nn.Linear(1, 2)
    save({"model": {"weight": linear.weight, "bias": nn.Buffer(torch.ones(2))}}, folder / "parameters")


def save_legacy(folder: Path) -> None:
    """Save legacy files whose storages are called the same each time, not by their addresses."""
    save_torch(folder, new=False)
    for path in folder.iterdir():
        data = path.read_bytes()
        for number, key in enumerate(dict.fromkeys(re.findall(rb"\d{12,}", data))):
            data = data.replace(key, b"%0*d" % (len(key), number))
        path.write_bytes(data)


FORMATS: dict[str, Callable[[Path], None]] = {
    "safetensors": save_safetensors,
    "torch": partial(save_torch, new=True),
    "torch-legacy": save_legacy,
}


@pytest.mark.parametrize("name", FORMATS)
def test_mutations_of_valid_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    seeds, file = tmp_path / "seeds", tmp_path / "mutation"
    seeds.mkdir()
    FORMATS[name](seeds)
    assert all(read_all(path) for path in seeds.iterdir())
    command = [sys.executable, "-m", "tests.hostile.mutate", str(COUNT), "20240213", str(seeds), str(file)]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-1000:]}\n{file.read_bytes()[:4000]!r}"
    report = json.loads(done.stdout)
    print({**report, "causes": report["causes"][:10]})
    assert report["accepted"] + report["refused"] == COUNT
    assert report["accepted"] > COUNT // 100
    assert report["refused"] > COUNT // 2
    assert len(report["causes"]) > 20, "the mutations do not reach far"
    assert report["slowest"] < 5
    assert report["peak"] < 256 * MIB


@pytest.mark.parametrize("name", ["torch", "torch-legacy"])
def test_what_is_read_of_a_mutation_is_what_torch_reads(tmp_path: Path, name: str) -> None:
    seeds, file = tmp_path / "seeds", tmp_path / "mutation"
    seeds.mkdir()
    FORMATS[name](seeds)
    sources = [Seed(path.read_bytes()) for path in sorted(seeds.iterdir())]
    rng = random.Random(7)
    compared = 0
    for _ in range(6000):
        one, other = rng.choice(sources), rng.choice(sources)
        file.write_bytes(one.around(mutated(rng, one.inner, other.inner)))
        try:
            checkpoint = _core.Checkpoint([file])
            ours = {t.source_name: (t.shape, checkpoint.read(t.name)) for t in checkpoint.tensors}
        except _core.InputError:
            continue
        try:
            with torch.serialization.safe_globals(SAFE_GLOBALS):
                theirs = torch.load(file, weights_only=True)
        except Exception:  # torch is stricter about what is beside the weights, and knows fewer opcodes
            continue
        for key in filter(None, checkpoint.key.split(".")):
            theirs = theirs[key]
        tensors = {k: v for k, v in theirs.items() if isinstance(v, torch.Tensor)}
        assert ours == {k: (tuple(v.shape), content(v)) for k, v in tensors.items()}
        compared += 1
    assert compared > 100
