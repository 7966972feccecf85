"""Gather where models lie in weight space: a map along two principal axes, and how tensors' values spread."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff._core import Segment
from pdiff.bank import Bank
from pdiff.bank.spectrum import mean_row, spectrum
from pdiff.evaluation.populations import Population
from pdiff.evaluation.schema import Histogram, MapData, MapPopulation

_AXES = 2
MOST_MEMBERS = 4096
"""Larger Gram matrices take minutes to decompose."""
_TENSORS = 12
_BINS = 32
_NUMBERS = 4096
"""Of a larger tensor, so many numbers are counted."""
_FAMILIES = ("original", "generated", "gaussian")
_ROOM = 0.05


def spread_over(size: int, most: int) -> list[int]:
    """Return at most `most` different indices, evenly spread over `size`, both ends among them."""
    if size <= most:
        return list(range(size))
    return [index * (size - 1) // (most - 1) for index in range(most)]


def rounded(value: float) -> float:
    """Round to four significant digits, more than a figure can show."""
    return float(f"{value:.3e}")


class Projection:
    """Collects the places of models on the map, in units of each tensor's std over the bank."""

    def __init__(self, bank: Bank) -> None:
        found = spectrum(bank, "tensor")
        self._normalizer = bank.normalizer("tensor")
        self._mean = mean_row(bank, "tensor")
        self._axes = torch.zeros(_AXES, bank.dim)
        """Orthonormal directions [2, D], f32; 0 where the members span fewer."""
        if count := len(found.values[:_AXES]):
            vectors = found.vectors[:, :count]
            signs = vectors.gather(
                0, vectors.abs().argmax(dim=0, keepdim=True)
            ).sign()  # else anybody's choice
            unit = signs[0] * (len(bank) / found.values[:count]).sqrt()
            coefficients = unit[:, None] * found.coefficients(count)
            self._axes[:count] = bank.combine(coefficients, self._normalizer, centred=True)
        shares = (found.values[:_AXES] / found.gram.trace()).tolist()
        self._explained = (shares + [0.0] * _AXES)[:_AXES]
        self._places: dict[tuple[str, float | None], list[Tensor]] = {}

    def add(self, population: Population, rows: Tensor) -> None:
        """Project raw rows [B, D] of a population; they are normalised in place."""
        self._normalizer.apply(rows.numpy())
        places = (rows - self._mean) @ self._axes.T
        self._places.setdefault((population.family, population.strength), []).append(places)

    def result(self) -> MapData:
        """Return the share of the bank's variance along each axis, and the places of each population."""
        return MapData(
            explained=[rounded(share) for share in self._explained],
            populations=[
                MapPopulation(
                    family=family,
                    strength=strength,
                    xy=[(rounded(x), rounded(y)) for x, y in torch.cat(places).tolist()],
                )
                for (family, strength), places in self._places.items()
            ],
        )


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
