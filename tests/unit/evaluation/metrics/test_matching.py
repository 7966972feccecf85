"""Permuted copies are found and do what they did; matching one group is the best of all permutations."""

from itertools import permutations as orders_of
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.common.errors import UsageError
from pdiff.common.torch_rng import seeded
from pdiff.evaluation.metrics.matching import Symmetry, aligned_distances
from pdiff.evaluation.metrics.weights import place
from pdiff.evaluation.populations import Population
from pdiff.tasks import load_task
from pdiff.tasks.base import Task

NETWORKS = [
    *(("mnist1d", arch) for arch in ("mlp", "convnet", "resnet")),
    *(("digits", arch) for arch in ("mlp", "convnet")),
    ("fashion", "convnet"),
]
SHAPES = {"mnist1d": (40,), "digits": (1, 8, 8), "fashion": (1, 28, 28)}
MEMBERS = 3


def networks_bank(folder: Path, task: Task, arch: str) -> Bank:
    """Untrained networks of different seeds, their running statistics made up."""
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        with seeded(index, "network"):
            network = task.build(arch)
            for name, tensor in network.state_dict().items():
                if "norm" in name and tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
        save_file(network.state_dict(), folder / f"ckpts/{index}.safetensors")
    return collect(folder / "ckpts", out=folder / "bank")


def shuffled(bank: Bank, symmetry: Symmetry, row: Tensor, seed: int) -> Tensor:
    """The same network with its hidden units in another order."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(columns)) for columns in symmetry.columns]
    return torch.from_numpy(permute(symmetry, row.numpy(), orders))


def permute(symmetry: Symmetry, row: Any, orders: list[Any]) -> Any:
    """The row [D] of the network whose unit i of group j is the given one's unit orders[j][i]."""
    for columns, order in zip(symmetry.columns, orders, strict=True):
        source, row = row, row.copy()
        row[columns] = source[columns[order]]
    return row


@pytest.mark.parametrize(("name", "arch"), NETWORKS)
def test_a_permuted_copy_is_the_same_network_and_at_distance_zero(
    name: str, arch: str, tmp_path: Path
) -> None:
    task = load_task(name)
    bank = networks_bank(tmp_path, task, arch)
    groups = task.permutations(arch)
    symmetry = Symmetry(bank.layout, groups)
    assert len(symmetry.groups) == len(groups) > 1
    rows = bank.batch([1, 2])
    copies = torch.stack([shuffled(bank, symmetry, row, seed) for seed, row in enumerate(rows)])
    assert not bool((copies == rows).all(dim=1).any())

    network, inputs = task.build(arch).eval(), torch.randn(20, *SHAPES[name])
    outputs = []
    for row in (rows[0], copies[0]):
        network.load_state_dict(bank.state_dict(row))
        with torch.no_grad():
            outputs.append(network(inputs))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)

    population = Population("generated", None, 2, lambda indices: copies[list(indices)].clone())
    found = place(population, bank, align=groups)
    assert found.aligned is not None
    assert float(found.aligned.max()) < 1e-4
    assert float(found.normalised.min()) > 1


def test_alignment_brings_networks_closer(tmp_path: Path) -> None:
    task = load_task("mnist1d")
    bank = networks_bank(tmp_path, task, "mlp")
    groups, normalizer = task.permutations("mlp"), bank.normalizer("tensor")
    rows = bank.batch(range(MEMBERS), normalizer)
    itself = torch.arange(MEMBERS)
    aligned = aligned_distances(bank, rows, normalizer, groups, itself)
    between = torch.cdist(rows.double(), rows.double())
    plain = between.fill_diagonal_(torch.inf).amin(dim=1)
    assert bool((aligned < plain).all())
    assert bool((aligned > 1).all()), "a member does not count as its own neighbour"
    torch.testing.assert_close(aligned_distances(bank, rows, normalizer, (), itself), plain)


def layout_bank(tmp_path: Path) -> Bank:
    """Two layers, five hidden units whose outputs are flattened pairs."""
    (tmp_path / "ckpts").mkdir()
    for index in range(MEMBERS):
        generator = torch.Generator().manual_seed(index)
        tensors = {
            "first": torch.randn(5, 3, generator=generator),
            "last": torch.randn(2, 10, generator=generator),
        }
        save_file(tensors, tmp_path / f"ckpts/{index}.safetensors")
    return collect(tmp_path / "ckpts", out=tmp_path / "bank")


def test_one_group_is_matched_as_well_as_any_order_can(tmp_path: Path) -> None:
    bank = layout_bank(tmp_path)
    symmetry = Symmetry(bank.layout, [[("first", 0), ("last", 1)]])
    row, target = bank.batch([0, 1]).double().numpy()
    distances = [
        float(np.linalg.norm(permute(symmetry, row, [np.array(order)]) - target))
        for order in orders_of(range(5))
    ]
    found = float(np.linalg.norm(symmetry.align(row, target) - target))
    assert found == pytest.approx(min(distances))
    assert len(set(distances)) == 120


def test_units_move_with_all_their_numbers(tmp_path: Path) -> None:
    bank = layout_bank(tmp_path)
    symmetry = Symmetry(bank.layout, [[("first", 0), ("last", 1)]])
    row = bank.batch([0])[0]
    order = [3, 1, 4, 0, 2]
    moved = bank.subset(torch.from_numpy(permute(symmetry, row.numpy(), [np.array(order)])))
    first, last = bank.subset(row)["first"], bank.subset(row)["last"]
    assert torch.equal(moved["first"], first[order])
    assert torch.equal(moved["last"], last.reshape(2, 5, 2)[:, order].reshape(2, 10))


def test_groups_that_are_only_partly_generated_stay(tmp_path: Path) -> None:
    bank = layout_bank(tmp_path)
    assert Symmetry(bank.layout, [[("first", 0), ("frozen", 1)]]).groups == []
    with pytest.raises(UsageError, match="3 units cannot move with 2 others"):
        Symmetry(bank.layout, [[("first", 1), ("last", 0)]])
