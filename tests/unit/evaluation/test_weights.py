"""The spread of rows: against the obvious computation, and where rounding would hurt."""

import pytest
import torch
from torch import Tensor

from pdiff.evaluation.weights import Spread


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
