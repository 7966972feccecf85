"""Where models lie as vectors of weights: how far they spread, and how near they come to the bank.

Rows are normalised [M, D] f32: in units of each tensor's standard deviation, with `running_var` in log
space (the bank's "tensor" normaliser). Sums are float64, and taken around a `centre` [D], any point near
the rows, so that close rows do not drown in rounding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.families import Population
from pdiff.evaluation.judge import blocks

__all__ = ["Spread", "Weights", "weigh"]


@dataclass(frozen=True)
class Weights:
    """A population's place in the space of weights, in normalised units."""

    spread: float | None
    """RMS distance to the population's mean; None for one model."""
    nearest: Tensor | None
    """F64 [M], L2 distance to the nearest bank member, where asked for."""


def weigh(population: Population, bank: Bank, *, distances: bool = False) -> Weights:
    """Measure a population's rows, block by block in bounded memory.

    `distances` asks for the distance to the nearest bank member, another one for the bank's own members.
    """
    normalizer = bank.normalizer("tensor")
    spread, nearest = Spread(bank.batch([0], normalizer)[0]), []
    for indices in blocks(population.size, bank.dim):
        rows = population.rows(indices)
        normalizer.apply(rows.numpy())
        spread.add(rows)
        if distances:
            itself = torch.tensor(indices) if population.family == "original" else None
            nearest.append(bank.nearest(rows, normalizer, itself)[1])
    return Weights(spread.rms(), torch.cat(nearest) if distances else None)


class Spread:
    """RMS distance of rows to their mean, from one pass over blocks of them."""

    def __init__(self, centre: Tensor) -> None:
        self._centre = centre.double()
        self._sum = torch.zeros_like(self._centre)
        self._squares = 0.0
        self._count = 0

    def add(self, rows: Tensor) -> None:
        """Take in a block of rows [B, D]."""
        offsets = rows.double() - self._centre
        self._sum += offsets.sum(dim=0)
        self._squares += float(offsets.square().sum())
        self._count += len(rows)

    def rms(self) -> float | None:
        """Return sqrt(Σ‖row − mean‖² / (M − 1)), which M does not bias; None for fewer than two rows."""
        if self._count < 2:
            return None
        around_mean = self._squares - float(self._sum.square().sum()) / self._count
        return math.sqrt(max(around_mean, 0.0) / (self._count - 1))
