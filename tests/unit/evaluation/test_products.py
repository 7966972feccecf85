"""Inner products with a bank: against everything in memory, in any panels, around any members' mean."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation import products
from pdiff.evaluation.products import Neighbours, Products, bank_products, select
from tests.support import bank_of

K, D, M = 9, 50, 4


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return bank_of(20 + torch.randn(K, D, generator=torch.Generator().manual_seed(0)), tmp_path)


@pytest.fixture
def models() -> Tensor:
    return 20 + torch.randn(M, D, generator=torch.Generator().manual_seed(1))


def reference(models: Tensor, members: Tensor) -> Products:
    x, m = (rows.double() - members.double().mean(dim=0) for rows in (models, members))
    return Products(x @ m.T, x.square().sum(dim=1), m @ m.T)


def same(found: Products, expected: Products) -> None:
    for name in ("cross", "squares", "gram"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("numbers", [2**22, 7 * K, 1])
def test_they_are_the_definition_in_any_panels(
    bank: Bank, models: Tensor, monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    monkeypatch.setattr(products, "_PANEL_NUMBERS", numbers)
    neighbours = Neighbours(bank, bank.normalizer("none"))
    found = neighbours.products(models)
    members = bank.batch(range(K))
    same(found, reference(models, members))
    torch.testing.assert_close(
        found.squared_distances(),
        torch.cdist(models.double(), members.double()).square(),
        rtol=1e-5,
        atol=1e-4,
    )
    same(neighbours.products(members, torch.arange(K)), reference(members, members))


def test_a_choice_of_members_has_its_own_mean(bank: Bank, models: Tensor) -> None:
    members = bank.batch(range(K))
    neighbours = Neighbours(bank, bank.normalizer("none"))
    chosen = torch.tensor([5, 0, 2, 8])
    found = select(neighbours.products(models), torch.tensor([3, 1]), chosen)
    same(found, reference(models[[3, 1]], members[chosen]))
    same(
        select(bank_products(neighbours.gram), torch.tensor([4]), chosen),
        reference(members[[4]], members[chosen]),
    )
