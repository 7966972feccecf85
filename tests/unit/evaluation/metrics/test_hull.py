"""Where models lie: planted ones, and the slow way with every row in memory."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.bank.spectrum import spectrum
from pdiff.evaluation.metrics import hull
from pdiff.evaluation.metrics.hull import geometry, nearest_segments, off_hull
from pdiff.evaluation.metrics.weights import Products, bank_products, products_with
from tests.support import bank_of

K, D = 10, 60


def normal(seed: int, n: int, dim: int = D) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return bank_of(normal(0, K), tmp_path)


@pytest.fixture
def members(bank: Bank) -> Tensor:
    """Normalised, as everything here is."""
    return bank.batch(range(K), bank.normalizer("tensor")).double()


def products(models: Tensor, bank: Bank) -> Products:
    return products_with(models.float(), bank, "tensor")


def slow_off_hull(model: Tensor, members: Tensor) -> float:
    """Least squares over combinations of the members."""
    mean = members.mean(dim=0)
    basis = (members - mean).T
    fitted = basis @ torch.linalg.lstsq(basis, (model - mean)[:, None], driver="gelsd").solution
    return float((model - mean - fitted[:, 0]).norm() / (model - mean).norm())


def slow_segment(model: Tensor, members: Tensor) -> float:
    """A fine search along every segment."""
    nearest = (members - model).norm(dim=1).min()
    fractions = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    points = (torch.lerp(a, b, fractions) for a, b in combinations(members, 2))
    return float(min((each - model).norm(dim=1).min() for each in points) / nearest)


def test_off_the_hull_is_what_least_squares_leaves(bank: Bank, members: Tensor) -> None:
    models = normal(1, 4)
    models[1] = members[[2, 5, 6]].mean(dim=0)
    models[2] = members[0] + 0.01 * models[2]
    found = off_hull(products(models, bank), spectrum(bank, "tensor"))
    for model, ratio in zip(models.double(), found, strict=True):
        assert float(ratio) == pytest.approx(slow_off_hull(model, members), abs=1e-3)
    assert float(found[1]) < 1e-3
    assert float(found[0]) > 0.8


def test_nearest_segments_are_what_a_search_finds(bank: Bank, members: Tensor) -> None:
    models = normal(1, 5)
    models[1] = 0.7 * members[2] + 0.3 * members[5]
    models[2] = members[4]
    models[3] = members.mean(dim=0) + 40 * (members[0] - members.mean(dim=0))
    ratio, between = nearest_segments(products(models, bank))
    assert between.tolist() == [True, True, False, False, True]
    for index in (0, 3, 4):
        assert float(ratio[index]) == pytest.approx(slow_segment(models[index].double(), members), abs=1e-4)
    assert float(ratio[1]) < 1e-3
    assert float(ratio[2]) == 1


def test_a_members_own_segments_do_not_count(bank: Bank, members: Tensor) -> None:
    ratio, _ = nearest_segments(bank_products(bank), members=True)
    for index in range(K):
        others = members[[other for other in range(K) if other != index]]
        assert float(ratio[index]) == pytest.approx(slow_segment(members[index], others), abs=1e-4)


def test_many_members_are_searched_near_the_model(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    found = products(normal(1, 3), bank)
    exact, _ = nearest_segments(found)
    monkeypatch.setattr(hull, "_ENDS", 4)
    near, _ = nearest_segments(found)
    assert bool((near >= exact).all())
    assert bool((near < 1).all())


def test_the_part_of_the_results(bank: Bank, members: Tensor) -> None:
    held_out = (3, 8)
    training = members[[index for index in range(K) if index not in held_out]]
    models = normal(1, 6)
    found = geometry(bank, products(models, bank), held_out)
    expected = [slow_off_hull(model, training) for model in models.double()]
    kept = [slow_off_hull(members[index], training) for index in held_out]
    assert found.affine_hull is not None
    assert found.affine_hull.generated == pytest.approx(sum(expected) / 6, abs=1e-3)
    assert found.affine_hull.held_out == pytest.approx(sum(kept) / 2, abs=1e-3)
    assert found.segments.generated < 1
    assert found.segments.between == 1
    everyone = geometry(bank, products(models, bank)).affine_hull
    assert everyone is not None and everyone.held_out is None


def test_a_hull_that_is_everything_is_left_out(tmp_path: Path) -> None:
    full = bank_of(normal(0, 6, 4), tmp_path)
    assert geometry(full, products(normal(1, 2, 4), full)).affine_hull is None
