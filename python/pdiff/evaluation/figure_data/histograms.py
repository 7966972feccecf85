"""Count how the numbers of a tensor are spread: over originals, generated models and Gaussian draws."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff._core import Segment
from pdiff.bank import Bank
from pdiff.evaluation.figure_data.sampling import rounded, spread_over
from pdiff.evaluation.populations import Population
from pdiff.evaluation.schema import Histogram

_TENSORS = 12
_BINS = 32
_NUMBERS = 4096
"""Of a larger tensor, so many numbers are counted."""
_FAMILIES = ("original", "generated", "gaussian")
_ROOM = 0.05


class Histograms:
    """Collects raw values of the tensors that vary most, and counts them in bins that all share."""

    def __init__(self, bank: Bank) -> None:
        self._segments = _most_varying(bank)
        self._values: dict[str, list[list[Tensor]]] = {}

    def add(self, population: Population, rows: Tensor) -> None:
        """Take in raw rows [B, D] of a population; families that are not drawn are passed over."""
        if population.family not in _FAMILIES:
            return
        parts = self._values.setdefault(population.family, [[] for _ in self._segments])
        for part, segment in zip(parts, self._segments, strict=True):
            columns = spread_over(segment.end - segment.begin, _NUMBERS)
            part.append(rows[:, [segment.begin + column for column in columns]])

    def result(self) -> list[Histogram]:
        """Return one histogram a tensor, in the order of the layout.

        Its edges are the first and the last of equal bins: the range of originals and generated models and a
        little more. A share is that of all values, so that what lies outside is missing from the sum.
        """
        return [self._histogram(place, segment) for place, segment in enumerate(self._segments)]

    def _histogram(self, place: int, segment: Segment) -> Histogram:
        values = {family: torch.cat(parts[place]).flatten().numpy() for family, parts in self._values.items()}
        ours = [values[family] for family in ("original", "generated") if family in values]
        low, high = _range(np.concatenate(ours))
        return Histogram(
            name=segment.name,
            shape=list(segment.shape),
            edges=(low, high),
            shares={family: _shares(each, low, high) for family, each in values.items()},
        )


def _most_varying(bank: Bank) -> list[Segment]:
    """Return the tensors with the largest shares of the bank's normalised variance, in layout order."""
    statistics, segments = bank.statistics, bank.layout.segments
    variance = statistics["element_std"].square()
    unit = statistics["tensor_std"].where(statistics["tensor_std"] > 0, 1.0).square()
    shares = [float(variance[s.begin : s.end].sum() / unit[i]) for i, s in enumerate(segments)]
    ranked = sorted(range(len(segments)), key=lambda index: -shares[index])[:_TENSORS]
    return [segments[index] for index in sorted(ranked)]


def _range(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return where the bins begin and end, never the same."""
    low, high = float(values.min()), float(values.max())
    room = _ROOM * (high - low) or abs(high) * _ROOM or _ROOM
    return rounded(low - room), rounded(high + room)


def _shares(values: npt.NDArray[np.float32], low: float, high: float) -> list[float]:
    counts, _ = np.histogram(values, bins=_BINS, range=(low, high))
    return [rounded(count / values.size) for count in counts.tolist()]
