"""A population beside the bank: how good its models are, and how alike in their errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pdiff.evaluation import novelty
from pdiff.evaluation.judge import Judged
from pdiff.evaluation.weights import Distances, Weights

__all__ = ["Measured", "Scored", "joined", "score"]

Measured = tuple[Judged, Weights]
"""A population's predictions and its place in the space of weights."""


@dataclass(frozen=True)
class Scored:
    """A population of M models beside the K members of the bank."""

    judged: Judged
    weights: Weights
    similarity: Tensor
    """F64 [M, K], IoU with each bank member, itself included."""
    containment: Tensor
    """F64 [M], share of the most similar other member's errors that each model repeats."""
    max_similarity: Tensor
    """F64 [M], each model's largest IoU with a bank member, itself excluded."""
    dispersion: float | None
    """RMS distance to the own mean over the bank's; None where one of them is not defined or 0."""

    @property
    def size(self) -> int:
        """M, the models of the population."""
        return self.judged.population.size

    @cached_property
    def scores(self) -> Tensor:
        """F64 [M], in the metric's unit."""
        return self.judged.scores()

    @cached_property
    def within(self) -> Tensor:
        """F64 [M, M], IoU of every two models."""
        return novelty.iou_matrix(self.judged.wrong, self.judged.wrong)

    @property
    def to_others(self) -> Tensor:
        """F64 [M], each model's mean similarity to the others; only for M ≥ 2."""
        return novelty.similarity_to_others(self.within)

    @property
    def to_nearest(self) -> Tensor:
        """F64 [M], each model's largest similarity to another one; only for M ≥ 2."""
        return novelty.max_similarity(novelty.without_self(self.within))

    @property
    def distances(self) -> Distances:
        """How near the models come to the bank; originals and generated models are weighed with them."""
        assert self.weights.distances is not None, "the population was weighed without distances"
        return self.weights.distances

    @property
    def gg(self) -> float | None:
        """Mean similarity of two models; None for one."""
        return round(novelty.mean_similarity(self.within), 12) if self.size > 1 else None


def score(measured: Measured, original: Measured) -> Scored:
    """Compare a population with the bank's members, which may be the same."""
    (judged, weights), (bank, bank_weights) = measured, original
    similarity = novelty.iou_matrix(judged.wrong, bank.wrong)
    others = novelty.without_self(similarity) if judged is bank else similarity
    dispersion = None
    if weights.spread is not None and bank_weights.spread:
        dispersion = weights.spread / bank_weights.spread
    return Scored(
        judged,
        weights,
        similarity,
        novelty.containment(judged.wrong, bank.wrong, others),
        novelty.max_similarity(others),
        dispersion,
    )


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate along the models."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
