"""How far models spread as vectors of weights.

Rows are normalised [M, D] f32: in units of each tensor's standard deviation, with `running_var` in log
space (the bank's "tensor" normaliser). Sums are float64, and taken around a `centre` [D], any point near
the rows, so that close rows do not drown in rounding.
"""

import math

import torch
from torch import Tensor

__all__ = ["Spread"]


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
