"""Find the principal axes of a bank's members from their Gram matrix, which gives them exactly at any D.

K rows of D numbers span at most K − 1 directions around their mean, so the K×K Gram matrix of the centred
rows X Xᵀ = V Λ Vᵀ is all that needs to be decomposed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff.bank.bank import Bank, View
from pdiff.bank.rows import Normalization

TOLERANCE = 3e-7
"""Smallest eigenvalue that counts, relative to the largest.

The Gram matrix sums products of f32: on banks of fewer than K − 1 directions, rounding alone was measured to
leave eigenvalues of up to 2.1e-7. The least axis of a training trajectory (digits, 24 steps) has 6.7e-7.
"""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Spectrum:
    """The principal axes of k members' normalised rows, through their Gram matrix."""

    gram: Tensor
    """Of the rows, centred over these members: float64 [k, k]."""
    values: Tensor
    """The eigenvalues above the tolerance, largest first: float64 [R], R < k."""
    vectors: Tensor
    """Their eigenvectors, as columns: float64 [k, R]."""
    indices: Tensor
    """The members' rows in the bank: int64 [k]."""
    total: int
    """K, the members of the whole bank."""

    def coefficients(self, count: int | None = None) -> Tensor:
        """Return combinations of the bank's rows that are the axes times the members' std along them.

        Float64 [Z, K], Z = `count` or R if that is smaller: for `Bank.combine` with `centred=True`, zeros for
        rows that are no members. Row j of Vᵀ X is axis j times the norm √λ_j of the scores along it; over k
        members that norm is √k standard deviations. Each row adds up to 0, so it does not matter over which
        members the rows are centred.
        """
        vectors = self.vectors[:, :count]
        weights = torch.zeros(vectors.shape[1], self.total, dtype=torch.float64)
        weights.index_add_(1, self.indices, (vectors / len(self.indices) ** 0.5).T)
        return weights


def spectrum(members: Bank | View, kind: Normalization) -> Spectrum:
    """Decompose the Gram matrix of the members' normalised rows, once for each open bank.

    The bank is streamed, so memory is that of the matrix. Raises `ValueError` for no members, and for a bank
    of more than 32,768.
    """
    bank, indices = members.bank, members.indices.copy()
    return _once(bank, ("spectrum", kind, indices.tobytes()), lambda: _decompose(bank, indices, kind))


def mean_row(members: Bank | View, kind: Normalization) -> Tensor:
    """Return the mean of the members' normalised rows, new float32 [D]; computed once for each open bank."""
    bank, indices = members.bank, members.indices.copy()

    def average() -> Tensor:
        weights = torch.zeros(1, len(bank))
        weights[0].index_add_(0, torch.from_numpy(indices), torch.full((len(indices),), 1 / len(indices)))
        return bank.combine(weights, bank.normalizer(kind))[0]

    return _once(bank, ("mean", kind, indices.tobytes()), average).clone()


def gram(bank: Bank, kind: Normalization) -> Tensor:
    """Return the Gram matrix of all normalised rows, centred: f64 [K, K], once for each open bank."""
    return _once(bank, ("gram", kind), lambda: bank.gram(bank.normalizer(kind)))


def _once(bank: Bank, key: tuple[Any, ...], compute: Callable[[], Result]) -> Result:
    if key not in bank.derived:
        bank.derived[key] = compute()
    found: Result = bank.derived[key]
    return found


def _decompose(bank: Bank, indices: npt.NDArray[np.int64], kind: Normalization) -> Spectrum:
    if not len(indices):
        raise ValueError("no members; accepted: 1 or more")
    places = torch.from_numpy(indices)
    products = gram(bank, kind)
    if not torch.equal(places, torch.arange(len(bank))):
        products = products[places][:, places]
        means = products.mean(dim=0)
        products = products - means - means[:, None] + means.mean()
    values, vectors = torch.linalg.eigh(products)  # ascending
    values, vectors = values.flip(0), vectors.flip(1)
    largest = values[0].clamp(min=0)
    count = min(int((values > TOLERANCE * largest).sum()), len(indices) - 1)
    return Spectrum(products, values[:count], vectors[:, :count], places, len(bank))
