"""Permuted copies of members are at distance zero, and alignment brings networks closer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pdiff.common.errors import UsageError
from pdiff.evaluation.metrics.matching import aligned_distances, symmetric_groups
from pdiff.evaluation.metrics.weights import place
from pdiff.evaluation.populations import Population
from pdiff.tasks import Classification, load_task
from pdiff.tasks.base import Split
from tests.support import bank_of
from tests.unit.alignment.banks import MEMBERS, networks_bank, shuffled

NETWORKS = [*(("mnist1d", arch) for arch in ("mlp", "convnet", "resnet")), ("digits", "convnet")]


@pytest.mark.parametrize(("name", "arch"), NETWORKS)
def test_a_permuted_copy_is_at_distance_zero(name: str, arch: str, tmp_path: Path) -> None:
    task = load_task(name)
    bank = networks_bank(tmp_path, task, arch)
    groups = symmetric_groups(bank, task, arch)
    rows = bank.batch([1, 2])
    copies = torch.from_numpy(np.stack([shuffled(bank, groups, row, 7) for row in rows.numpy()]))
    assert not bool((copies == rows).all(dim=1).any())
    population = Population("generated", None, 2, lambda indices: copies[list(indices)].clone())
    found = place(population, bank, align=groups)
    assert found.aligned is not None
    assert float(found.aligned.max()) < 1e-4
    assert float(found.normalised.min()) > 1


def test_alignment_brings_networks_closer(tmp_path: Path) -> None:
    task = load_task("mnist1d")
    bank = networks_bank(tmp_path, task, "mlp")
    groups, normalizer = symmetric_groups(bank, task, "mlp"), bank.normalizer("tensor")
    rows = bank.batch(range(MEMBERS), normalizer)
    itself = torch.arange(MEMBERS)
    aligned = aligned_distances(bank, rows, normalizer, groups, itself)
    between = torch.cdist(rows.double(), rows.double())
    plain = between.fill_diagonal_(torch.inf).amin(dim=1)
    assert bool((aligned < plain).all())
    assert bool((aligned > 1).all()), "a member does not count as its own neighbour"
    torch.testing.assert_close(aligned_distances(bank, rows, normalizer, (), itself), plain)


class Sorted(Classification):
    """A network whose hidden units cannot be followed."""

    name = "sorted"

    def build(self, arch: str) -> nn.Module:
        class Network(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x).sort(dim=-1)[0]

        return Network(6, 2)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        return torch.zeros(5, 6), torch.zeros(5, dtype=torch.long)


def test_a_network_that_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    message = "^--align: sorted network: .* cannot be followed through aten.sort.*; leave --align out$"
    with pytest.raises(UsageError, match=message):
        symmetric_groups(bank_of(torch.randn(4, 6), tmp_path), Sorted(), "network")


def test_a_bank_without_whole_hidden_units_is_refused(tmp_path: Path) -> None:
    bank = bank_of(torch.randn(4, 6), tmp_path)
    message = r"^--align: the bank's rows hold no hidden units of mnist1d mlp whole; leave --align out$"
    with pytest.raises(UsageError, match=message):
        symmetric_groups(bank, load_task("mnist1d"), "mlp")
