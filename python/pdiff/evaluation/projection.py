"""A map of the models: rows projected on the first two principal components of the bank."""

from typing import Any, Self

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.families import Population
from pdiff.evaluation.thinning import rounded

__all__ = ["Projection"]

_AXES = 2
_MOST_MEMBERS = 4096
"""Larger Gram matrices take minutes to decompose."""
_TOLERANCE = 1e-9


class Projection:
    """Collects the places of models on the map, in units of each tensor's std over the bank."""

    def __init__(self, bank: Bank, mean: Tensor, axes: Tensor, explained: Tensor) -> None:
        self._normalizer = bank.normalizer("tensor")
        self._mean = mean
        self._axes = axes
        """Orthonormal directions [2, D], f32."""
        self._explained = explained
        self._places: dict[tuple[str, float | None], list[Tensor]] = {}

    @classmethod
    def of(cls, bank: Bank) -> Self | None:
        """Find the axes from the Gram matrix of the bank's normalised rows; None if it has too many."""
        if len(bank) > _MOST_MEMBERS:
            return None
        normalizer = bank.normalizer("tensor")
        gram = bank.gram(normalizer)
        values, vectors = torch.linalg.eigh(gram)  # ascending
        values, vectors = values.flip(0)[:_AXES].clamp(min=0), vectors.flip(1)[:, :_AXES]
        total = float(gram.trace())
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
        vectors = vectors * largest.sign()  # the sign of an eigenvector is anybody's choice
        scale = torch.where(values > _TOLERANCE * total, values.rsqrt(), 0.0)
        axes = bank.combine((vectors * scale).T, normalizer, centred=True)
        mean = bank.combine(torch.full((1, len(bank)), 1 / len(bank)), normalizer)[0]
        return cls(bank, mean, axes, values / total if total else values)

    def add(self, population: Population, rows: Tensor) -> None:
        """Project raw rows [B, D] of a population; they are normalised in place."""
        self._normalizer.apply(rows.numpy())
        places = (rows - self._mean) @ self._axes.T
        self._places.setdefault((population.family, population.strength), []).append(places)

    def result(self) -> dict[str, Any]:
        """Return the share of the bank's variance along each axis, and the places of each population."""
        return {
            "explained": [rounded(share) for share in self._explained.tolist()],
            "populations": [
                {
                    "family": family,
                    "strength": strength,
                    "xy": [[rounded(x), rounded(y)] for x, y in torch.cat(places).tolist()],
                }
                for (family, strength), places in self._places.items()
            ],
        }
