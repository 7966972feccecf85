"""Map the models: rows projected on the first two principal components of the bank."""

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.bank.spectrum import mean_row, spectrum
from pdiff.evaluation.figure_data.sampling import rounded
from pdiff.evaluation.populations import Population
from pdiff.evaluation.schema import MapData, MapPopulation

_AXES = 2
MOST_MEMBERS = 4096
"""Larger Gram matrices take minutes to decompose."""


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
