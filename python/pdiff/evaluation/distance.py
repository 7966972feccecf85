"""How far models are from one another as vectors of weights.

Rows are normalised [M, D] f32: in units of each tensor's standard deviation, with `running_var` in log
space (the bank's "tensor" normaliser). Sums are float64, and taken around a `centre` [D], any point near
the rows, so that close rows do not drown in rounding.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["Spread", "nearest_distances"]


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


def nearest_distances(
    rows: Tensor, blocks: Iterable[tuple[int, Tensor]], centre: Tensor, itself: Tensor | None = None
) -> Tensor:
    """Return the L2 distance of each row to the nearest row of the bank: f32 [M, D] → f64 [M].

    `blocks` yields the bank in pieces: `(index of the first row, rows [B, D])`. `itself` i64 [M], for rows
    that are members of the bank, is the index that does not count.
    """
    ours = rows.double() - centre
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    for start, block in blocks:
        theirs = block.double() - centre
        squares = ours.square().sum(dim=1)[:, None] + theirs.square().sum(dim=1) - 2 * (ours @ theirs.T)
        if itself is not None:
            squares[itself[:, None] == torch.arange(start, start + len(block))] = torch.inf
        nearest = torch.minimum(nearest, squares.amin(dim=1))
    return nearest.clamp_min(0).sqrt()
