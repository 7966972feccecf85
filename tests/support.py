"""A small network's checkpoints, made up, for tests of everything that reads or writes them."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.common.progress import SILENT

MEMBERS = 12
TINY = [
    "codec.latent_dim=4",
    "train.steps=5",
    "denoiser.kind=mlp",
    "denoiser.width=16",
    "sampler.steps=5",
    "check=false",
]
SAFE_GLOBALS: list[Any] = [
    Namespace,
    type(Path()),
    np.dtype,
    type(np.dtype("f8")),
    type(np.dtype("i4")),
    np.float64(0).__reduce__()[0],
]
"""What training checkpoints hold beside their weights, for `torch.load` with `weights_only=True`."""


def content(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor in C order."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def checkpoint(index: int) -> dict[str, Tensor]:
    """Return member `index`: two varying layers (one with BatchNorm), one frozen layer, one counter."""
    generator = torch.Generator().manual_seed(index)
    return {
        "frozen.weight": torch.arange(6.0).reshape(2, 3),
        "layer.weight": 1 + 0.1 * torch.randn(3, 4, generator=generator),
        "layer.bias": 0.5 * torch.randn(3, generator=generator),
        "bn.running_mean": torch.randn(3, generator=generator),
        "bn.running_var": torch.rand(3, generator=generator) + 0.1,
        "bn.num_batches_tracked": torch.tensor(index),
    }


def bank_of(rows: Tensor, folder: Path) -> Bank:
    """Collect `rows` [K, D], as checkpoints of one tensor, into a bank below `folder`."""
    (folder / "rows").mkdir()
    for index, row in enumerate(rows):
        save_file({"weight": row.clone()}, folder / "rows" / f"{index}.safetensors")
    return collect(folder / "rows", out=folder / "bank-of-rows")


class Said(list[str]):
    """A progress that keeps the messages."""

    track = staticmethod(SILENT.track)
    message = list.append
