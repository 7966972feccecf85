"""Spread and distances of rows: against the obvious computation, and where rounding would hurt."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation import populations
from pdiff.evaluation.metrics import weights
from pdiff.evaluation.metrics.weights import (
    Place,
    Products,
    bank_products,
    place,
    products_with,
    rms_to_mean,
)
from pdiff.evaluation.metrics.weights import spread as spread_of
from pdiff.evaluation.populations import Population
from tests.support import bank_of

K, D = 12, 40
HELD_OUT = (1, 7)


def rows(seed: int, n: int, offset: float = 0.0) -> Tensor:
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(seed)) + offset


def spread(data: Tensor, *sizes: int) -> float | None:
    return rms_to_mean(data.split(list(sizes)))


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


def measured(population: Population, bank: Bank) -> Place:
    return place(population, bank, held_out=HELD_OUT)


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
        monkeypatch.setattr(populations, "_BLOCK_NUMBERS", numbers)
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


def test_a_population_spreads_as_its_rows_do(bank: Bank) -> None:
    normalised = bank.batch(range(5), bank.normalizer("tensor")).double()
    expected = (normalised - normalised.mean(dim=0)).square().sum() / 4
    assert spread_of(Population("noise", 1.0, 5, bank.batch), bank) == pytest.approx(
        float(expected.sqrt()), rel=1e-9
    )


def products_of(models: Tensor, members: Tensor) -> Products:
    x, m = (rows.double() - members.double().mean(dim=0) for rows in (models, members))
    return Products(x @ m.T, x.square().sum(dim=1), m @ m.T)


def same(found: Products, expected: Products) -> None:
    for name in ("cross", "squares", "gram"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("numbers", [2**22, 7 * K, 1])
def test_products_are_the_definition_in_any_panels(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    monkeypatch.setattr(weights, "_PANEL_NUMBERS", numbers)
    models = 50 + 3 * torch.randn(4, D, generator=torch.Generator().manual_seed(1))
    members = bank.batch(range(K))
    found = products_with(models, bank, "none")
    same(found, products_of(models, members))
    squared = torch.cdist(models.double(), members.double()).square()
    torch.testing.assert_close(found.squared_distances(), squared, rtol=1e-5, atol=1e-3)
    same(products_with(members, bank, "none", torch.arange(K)), products_of(members, members))


def test_a_choice_of_members_has_its_own_mean(bank: Bank) -> None:
    models = 50 + 3 * torch.randn(4, D, generator=torch.Generator().manual_seed(1))
    members, chosen = bank.batch(range(K)), torch.tensor([5, 0, 2, 8])
    same(products_with(models, bank, "none").around(chosen), products_of(models, members[chosen]))
    normalised = bank.batch(range(K), bank.normalizer("tensor"))
    same(bank_products(bank).around(chosen), products_of(normalised, normalised[chosen]))
