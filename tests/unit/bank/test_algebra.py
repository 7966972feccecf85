"""Gram matrices and combinations against torch, with everything in memory."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from tests.support import bank_of


@pytest.fixture
def rows() -> Tensor:
    return 2 + torch.randn(9, 500, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small(rows: Tensor, tmp_path: Path) -> Bank:
    return bank_of(rows, tmp_path)


def test_the_gram_matrix_is_that_of_the_normalised_rows(small: Bank) -> None:
    for kind in ("tensor", "element", "none"):
        normalizer = small.normalizer(kind)
        y = small.batch(range(9), normalizer).double()
        torch.testing.assert_close(small.gram(normalizer, centred=False), y @ y.T, rtol=1e-5, atol=1e-3)
        y -= y.mean(dim=0)
        torch.testing.assert_close(small.gram(normalizer), y @ y.T, rtol=1e-5, atol=1e-3)


def test_combinations_are_those_of_the_normalised_rows(small: Bank) -> None:
    coefficients = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    normalizer = small.normalizer("tensor")
    y = small.batch(range(9), normalizer)
    torch.testing.assert_close(small.combine(coefficients, normalizer), coefficients @ y)
    centred = small.combine(coefficients, normalizer, centred=True)
    torch.testing.assert_close(centred, coefficients @ (y - y.mean(dim=0)))
