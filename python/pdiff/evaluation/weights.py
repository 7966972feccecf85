"""Where models lie as vectors of weights: how far they spread, and how near they come to the bank.

Rows are normalised [M, D] f32: in units of each tensor's standard deviation, with `running_var` in log
space (the bank's "tensor" normaliser). Sums are float64, and taken around a `centre` [D], any point near
the rows, so that close rows do not drown in rounding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.bank import Bank, Normalizer
from pdiff.evaluation.families import Population
from pdiff.evaluation.permutations import aligned_distances
from pdiff.evaluation.products import Neighbours, Products
from pdiff.tasks.base import Permutations

__all__ = ["Distances", "Spread", "Weights", "weigh"]

_BLOCK_NUMBERS = 2**25
"""Numbers in a block of rows, 128 MiB as f32: the bank is read for each block."""


@dataclass(frozen=True)
class Distances:
    """How near M models come to the bank, f64 [M]: L2 to the nearest member, another one for a member."""

    normalised: Tensor
    raw: Tensor
    """In the weights' own units."""
    training: Tensor
    """Normalised, to the nearest member that was not held out of training."""
    aligned: Tensor | None
    """Normalised, after the hidden units were matched to each member's, where asked for."""


@dataclass(frozen=True)
class Weights:
    """A population's place in the space of weights."""

    spread: float | None
    """RMS distance to the population's mean, normalised; None for one model."""
    distances: Distances | None = None
    products: Products | None = None
    """Inner products with the bank's members, with the distances."""

    @property
    def nearest(self) -> Tensor | None:
        """F64 [M], normalised L2 distance to the nearest bank member, where asked for."""
        return None if self.distances is None else self.distances.normalised


def weigh(
    population: Population,
    bank: Bank,
    *,
    distances: bool = False,
    held_out: Sequence[int] = (),
    align: Permutations | None = None,
) -> Weights:
    """Measure a population's rows, block by block in bounded memory.

    `distances` asks for how near the models come to the bank; `held_out` are the members not learned from,
    and `align` the groups of hidden units to match first, if that is wanted too.
    """
    normalizer = bank.normalizer("tensor")
    spread = Spread(bank.batch([0], normalizer)[0])
    near = _Near(bank, normalizer, held_out, align) if distances else None
    step = max(1, _BLOCK_NUMBERS // bank.dim)
    for begin in range(0, population.size, step):
        indices = range(begin, min(begin + step, population.size))
        rows = population.rows(indices)
        itself = torch.tensor(indices) if population.family == "original" else None
        if near is not None:
            near.add_raw(rows, itself)
        normalizer.apply(rows.numpy())
        spread.add(rows)
        if near is not None:
            near.add(rows, itself)
    if near is None:
        return Weights(spread.rms())
    return Weights(spread.rms(), near.distances(), near.products())


class _Near:
    """Distances and inner products of models with the bank, from one pass over blocks of their rows."""

    def __init__(
        self, bank: Bank, normalizer: Normalizer, held_out: Sequence[int], align: Permutations | None
    ) -> None:
        self._bank = bank
        self._normalizer = normalizer
        self._held_out = torch.tensor(held_out, dtype=torch.int64)
        self._align = align
        self._raw = Neighbours(bank, bank.normalizer("none"))
        self._normalised = Neighbours(bank, normalizer)
        self._products: list[Products] = []
        self._found: dict[str, list[Tensor]] = {"normalised": [], "raw": [], "training": [], "aligned": []}

    def add_raw(self, rows: Tensor, itself: Tensor | None) -> None:
        """Take in the next models, raw rows [B, D]; `itself` [B] says which members they are, if they are."""
        squared = _others(self._raw.products(rows, itself), itself)
        self._found["raw"].append(self._raw.nearest(rows, squared))

    def add(self, rows: Tensor, itself: Tensor | None) -> None:
        """Take in the same models, normalised."""
        self._products.append(self._normalised.products(rows, itself))
        squared = _others(self._products[-1], itself)
        self._found["normalised"].append(self._normalised.nearest(rows, squared))
        squared[:, self._held_out] = torch.inf
        self._found["training"].append(self._normalised.nearest(rows, squared))
        if self._align is not None:
            aligned = aligned_distances(self._bank, rows, self._normalizer, self._align, itself)
            self._found["aligned"].append(aligned)

    def distances(self) -> Distances:
        """Return the distances of all models."""
        normalised, raw, training = (
            torch.cat(self._found[name]) for name in ("normalised", "raw", "training")
        )
        aligned = None if self._align is None else torch.cat(self._found["aligned"])
        return Distances(normalised, raw, training, aligned)

    def products(self) -> Products:
        """Return the inner products of all models."""
        cross = torch.cat([part.cross for part in self._products])
        return Products(cross, torch.cat([part.squares for part in self._products]), self._normalised.gram)


def _others(found: Products, itself: Tensor | None) -> Tensor:
    """Return the squared distances [B, K] to the members, infinite from a member to itself."""
    squared = found.squared_distances()
    if itself is not None:
        squared[torch.arange(len(squared)), itself] = torch.inf
    return squared


class Spread:
    """RMS distance of rows to their mean, from one pass over blocks of them."""

    def __init__(self, centre: Tensor) -> None:
        self._centre = centre.double()
        self._sum = torch.zeros_like(self._centre)
        self._squares = 0.0
        self._count = 0

    def add(self, rows: Tensor) -> None:
        """Take in a block of rows [B, D]."""
        for row in rows:
            offset = row.double() - self._centre
            self._sum += offset
            self._squares += float(offset.square().sum())
        self._count += len(rows)

    def rms(self) -> float | None:
        """Return sqrt(Σ‖row − mean‖² / (M − 1)), which M does not bias; None for fewer than two rows."""
        if self._count < 2:
            return None
        around_mean = self._squares - float(self._sum.square().sum()) / self._count
        return math.sqrt(max(around_mean, 0.0) / (self._count - 1))
