"""Banks of networks of built-in tasks that were never trained, and copies of networks with permuted units."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from pdiff.alignment.groups import Group
from pdiff.alignment.symmetry import row_symmetry
from pdiff.bank import Bank, collect
from pdiff.common.torch_rng import seeded
from pdiff.tasks.base import Task

MEMBERS = 3


def state_of(task: Task, arch: str, index: int) -> dict[str, Tensor]:
    """An untrained network of its own seed, its running statistics made up."""
    with seeded(index, "network"):
        network = task.build(arch)
        for name, tensor in network.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return network.state_dict()


def networks_bank(folder: Path, task: Task, arch: str) -> Bank:
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        save_file(state_of(task, arch, index), folder / f"ckpts/{index}.safetensors")
    return collect(folder / "ckpts", out=folder / "bank")


def shuffled(bank: Bank, groups: Sequence[Group], row: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """The same network with its hidden units in another order."""
    symmetry = row_symmetry(bank, groups)
    generator = np.random.default_rng(seed)
    moved: NDArray[np.float32] = symmetry.permuted(
        row, [generator.permutation(units) for units in symmetry.units]
    )
    return moved


def copies_bank(folder: Path, task: Task, arch: str, groups: Sequence[Group], members: int = 5) -> Bank:
    """One network, and copies of it with permuted units."""
    bank = networks_bank(folder, task, arch)
    (folder / "copies").mkdir()
    row = bank.gathered([0])[0]
    for index in range(members):
        moved = row if index == 0 else shuffled(bank, groups, row, index)
        save_file(bank.state_dict(torch.from_numpy(moved)), folder / f"copies/{index}.safetensors")
    return collect(folder / "copies", out=folder / "bank-of-copies")
