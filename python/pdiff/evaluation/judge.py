"""What is measured on each population: wrong predictions, spread, and distance to the bank."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.distance import Spread
from pdiff.evaluation.families import Population
from pdiff.evaluation.predict import Predictor
from pdiff.progress import Tracker

__all__ = ["Judged", "judge"]

_BLOCK_NUMBERS = 2**24
"""Numbers in a block of rows: 64 MiB as f32, whatever the bank's dimension."""


@dataclass(frozen=True)
class Judged:
    """A population and what was measured on its M models."""

    population: Population
    wrong: Tensor
    """Bool [M, N], the predictions that are wrong."""
    spread: float | None
    """RMS distance to the population's mean, in normalised units; None for one model."""
    nearest: Tensor | None
    """F64 [M], L2 distance to the nearest bank member in normalised units, where asked for."""

    @property
    def accuracy(self) -> Tensor:
        """F64 [M], the fraction of right predictions."""
        return 1 - self.wrong.double().mean(dim=1)


def judge(
    population: Population, bank: Bank, predictor: Predictor, tracker: Tracker, *, distances: bool = False
) -> Judged:
    """Predict with every model of `population` and measure its rows, block by block in bounded memory.

    `distances` asks for the distance to the nearest bank member, another one for the bank's own members.
    """
    normalizer = bank.normalizer("tensor")
    centre = bank.batch([0], normalizer)[0].double()
    spread, wrong, nearest = Spread(centre), [], []
    for indices in _blocks(population.size, bank.dim):
        rows = population.rows(indices)
        for row in rows:
            correct = predictor.correct(row)
            wrong.append(~correct)
            tracker.advance(1, accuracy=float(correct.double().mean()))
        normalizer.apply(rows.numpy())
        spread.add(rows)
        if distances:
            itself = torch.tensor(indices) if population.family == "original" else None
            nearest.append(bank.nearest(rows, normalizer, itself)[1])
    return Judged(population, torch.stack(wrong), spread.rms(), torch.cat(nearest) if distances else None)


def _blocks(size: int, dim: int) -> Iterator[range]:
    """Cut `size` rows of `dim` numbers into blocks of bounded memory."""
    step = max(1, _BLOCK_NUMBERS // dim)
    for start in range(0, size, step):
        yield range(start, min(start + step, size))
