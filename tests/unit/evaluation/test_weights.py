"""Spread and distances of rows: against the obvious computation, and where rounding would hurt."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation import weights
from pdiff.evaluation.families import Population
from pdiff.evaluation.weights import Distances, Spread, weigh
from tests.support import bank_of

K, D = 12, 40
HELD_OUT = (1, 7)


def rows(seed: int, n: int, offset: float = 0.0) -> Tensor:
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(seed)) + offset


def spread(data: Tensor, *sizes: int) -> float | None:
    measured = Spread(data[0].double())
    for block in data.split(list(sizes)):
        measured.add(block)
    return measured.rms()


def test_spread_equals_the_definition_in_any_blocks() -> None:
    data = rows(0, 9, offset=100.0)
    expected = (data.double() - data.double().mean(dim=0)).square().sum() / 8
    for sizes in ((9,), (1, 3, 5), (8, 1)):
        assert spread(data, *sizes) == pytest.approx(float(expected.sqrt()), rel=1e-12)


def test_spread_of_a_standard_normal_does_not_depend_on_the_number_of_rows() -> None:
    few = [spread(rows(seed, 3), 3) or 0.0 for seed in range(4000)]
    assert (sum(value**2 for value in few) / len(few)) ** 0.5 == pytest.approx(7**0.5, rel=0.01)


def test_spread_of_equal_rows_is_zero_and_of_one_row_undefined() -> None:
    assert spread(rows(0, 1).expand(5, -1), 5) == 0
    assert spread(rows(0, 1), 1) is None


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return bank_of(50 + 3 * torch.randn(K, D, generator=torch.Generator().manual_seed(0)), tmp_path)


def measured(population: Population, bank: Bank) -> Distances:
    found = weigh(population, bank, distances=True, held_out=HELD_OUT).distances
    assert found is not None
    return found


def test_distances_equal_the_definition_in_any_blocks(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    members = bank.batch(range(K)).double()
    models = 50 + 3 * torch.randn(5, D, generator=torch.Generator().manual_seed(1))
    models[3] = members[7]
    normalised = [
        (each - bank.statistics["tensor_mean"]) / bank.statistics["tensor_std"] for each in (models, members)
    ]
    expected = torch.cdist(*normalised)
    kept = [index for index in range(K) if index not in HELD_OUT]
    for numbers in (2**25, 2 * D, 1):
        monkeypatch.setattr(weights, "_BLOCK_NUMBERS", numbers)
        found = measured(
            Population("generated", None, 5, lambda indices: models[list(indices)].clone()), bank
        )
        torch.testing.assert_close(found.normalised, expected.amin(dim=1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.training, expected[:, kept].amin(dim=1), rtol=1e-5, atol=1e-5)
        raw = torch.cdist(models.double(), members).amin(dim=1)
        torch.testing.assert_close(found.raw, raw, rtol=1e-6, atol=1e-6)
        assert found.normalised[3] == found.raw[3] == 0 < found.training[3]
        assert found.aligned is None


def test_a_member_is_not_its_own_neighbour(bank: Bank) -> None:
    found = measured(Population("original", None, K, bank.batch), bank)
    members = bank.batch(range(K)).double()
    between = torch.cdist(members, members).fill_diagonal_(torch.inf)
    torch.testing.assert_close(found.raw, between.amin(dim=1), rtol=1e-6, atol=1e-6)
    std = bank.statistics["tensor_std"]
    torch.testing.assert_close(found.normalised, between.amin(dim=1) / std, rtol=1e-5, atol=0)
    between[:, list(HELD_OUT)] = torch.inf
    torch.testing.assert_close(found.training, between.amin(dim=1) / std, rtol=1e-5, atol=0)


def test_distances_are_measured_where_asked_for(bank: Bank) -> None:
    found = weigh(Population("noise", 1.0, 3, bank.batch), bank)
    assert found.distances is None
    assert found.products is None
    assert found.nearest is None
    assert found.spread is not None
