"""Z_U against scipy's Mann-Whitney test, and on models that are what it should find."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm
from torch import Tensor

from pdiff.evaluation.metrics.novelty import copying, mann_whitney_z
from pdiff.evaluation.metrics.weights import place
from pdiff.evaluation.populations import Population
from pdiff.evaluation.schema import ZU
from tests.support import bank_of

FEW_VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=30)
K, HELD_OUT = 60, 12


@given(FEW_VALUES, FEW_VALUES)
def test_it_is_scipys_test(first: list[int], second: list[int]) -> None:
    a, b = torch.tensor(first), torch.tensor(second)
    z = mann_whitney_z(a, b)
    if len({*first, *second}) == 1:
        assert z is None
        return
    assert z is not None
    result = mannwhitneyu(first, second, use_continuity=False, alternative="less", method="asymptotic")
    assert norm.cdf(z) == pytest.approx(result.pvalue, abs=1e-12)


def test_the_definition_by_counting_pairs() -> None:
    a, b = torch.tensor([1.0, 4.0, 6.0]), torch.tensor([2.0, 3.0, 5.0, 7.0])
    u = sum(float(x > y) for x in a for y in b)
    assert mann_whitney_z(a, b) == pytest.approx((u - 6) / math.sqrt(3 * 4 * 8 / 12))


def z_u(models: Tensor, rows: Tensor, held_out: list[int], folder: Path) -> float:
    """Z_U of `models` beside the bank `rows`, of which those `held_out` were not learned from."""
    bank = bank_of(rows, folder)
    generated = Population("generated", None, len(models), lambda indices: models[list(indices)])
    found = copying(bank, [place(generated, bank, held_out=held_out)], [tuple(held_out)])
    assert found.value is not None
    assert (found.generated, found.held_out) == (len(models), len(held_out))
    return found.value


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(K, 30, generator=torch.Generator().manual_seed(0))


def test_copies_are_far_below_and_far_models_above(rows: Tensor, tmp_path: Path) -> None:
    held_out = list(range(HELD_OUT))
    for name, models, low, high in (
        ("copies", rows[20:45] + 1e-3, -math.inf, -4.5),
        ("damaged copies", rows[20:45] + 0.3 * torch.randn(25, 30), -math.inf, -4),
        ("far", 4 * rows[20:45], 4, math.inf),
    ):
        (tmp_path / name).mkdir()
        assert low < z_u(models.clone(), rows, held_out, tmp_path / name) < high, name


def test_held_out_against_held_out_is_about_zero(rows: Tensor, tmp_path: Path) -> None:
    """Over twenty draws of both halves, mean 0 and variance 1, both known to within their errors."""
    values = []
    for seed in range(20):
        drawn = torch.randn(K + 15, 30, generator=torch.Generator().manual_seed(100 + seed))
        (tmp_path / str(seed)).mkdir()
        values.append(z_u(drawn[K:].clone(), drawn[:K], list(range(15)), tmp_path / str(seed)))
    assert abs(sum(values) / 20) < 3 / 20**0.5
    assert 0.3 < sum(value**2 for value in values) / 20 < 2.2


def test_without_held_out_members_it_says_so(rows: Tensor, tmp_path: Path) -> None:
    bank = bank_of(rows, tmp_path)
    ours = place(Population("generated", None, 3, bank.batch), bank)
    assert copying(bank, [ours], [()]) == ZU(value=None, reason="no member is known to be held out")


def test_runs_count_their_own_held_out_members(rows: Tensor, tmp_path: Path) -> None:
    bank = bank_of(rows, tmp_path)
    generated = Population("generated", None, 5, lambda indices: rows[list(indices)] + 1)
    held_out = [(1, 2), (), (3, 4, 5)]
    places = [place(generated, bank, held_out=each) for each in held_out]
    found = copying(bank, places, held_out)
    assert (found.generated, found.held_out) == (10, 5)
