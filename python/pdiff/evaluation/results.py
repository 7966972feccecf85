"""From what was measured to `results.json`: plain numbers, each with how many models it is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdiff.evaluation import novelty, verdict
from pdiff.evaluation.families import label
from pdiff.evaluation.judge import Judged
from pdiff.evaluation.weights import Weights

__all__ = ["FORMAT", "Measured", "Scored", "comparison", "score"]

FORMAT = 1


@dataclass(frozen=True)
class Scored:
    """A population beside the bank."""

    judged: Judged
    weights: Weights
    similarity: Tensor
    """F64 [M, K], IoU with each bank member; −inf between a member and itself."""
    dispersion: float | None
    """RMS distance to the own mean over the bank's; None where one of them is not defined or 0."""

    @property
    def size(self) -> int:
        """M, the models of the population."""
        return self.judged.population.size

    @property
    def max_similarity(self) -> Tensor:
        """F64 [M], each model's largest IoU with a bank member, itself excluded."""
        return novelty.max_similarity(self.similarity)


Measured = tuple[Judged, Weights]
"""A population's predictions and its place in the space of weights."""


def score(measured: Measured, original: Measured) -> Scored:
    """Compare a population with the bank's members, which may be the same."""
    (judged, weights), (bank, bank_weights) = measured, original
    similarity = novelty.iou_matrix(judged.wrong, bank.wrong)
    if judged is bank:
        similarity = novelty.without_self(similarity)
    dispersion = None
    if weights.spread is not None and bank_weights.spread:
        dispersion = weights.spread / bank_weights.spread
    return Scored(judged, weights, similarity, dispersion)


def comparison(
    original: Measured, generated: Measured, ensemble: Measured, baselines: Sequence[Measured], samples: str
) -> dict[str, Any]:
    """Return the parts of `results.json` that are computed from predictions and rows.

    `samples` says what the models were judged on, for the verdict: `10,000 test samples`.
    """
    bank, ours, mean = (score(each, original) for each in (original, generated, ensemble))
    rivals = [score(each, original) for each in baselines]
    return {
        "original": _accuracy(bank),
        "generated": _accuracy(ours),
        "ensemble": _accuracy(mean) | {"max_similarity": _mean(mean.max_similarity)},
        "baselines": [_baseline(rival) for rival in rivals],
        "novelty": _novelty(bank, ours),
        "points": [point for scored in (bank, ours, mean, *rivals) for point in _points(scored)],
        "verdict": _verdict(bank, ours, rivals, samples),
    }


def _accuracy(scored: Scored) -> dict[str, Any]:
    """Summarise accuracies as fractions; the std is the population's, 0 for one model."""
    accuracy = scored.judged.scores()
    return {
        "n": scored.size,
        "best": float(accuracy.max()),
        "mean": _mean(accuracy),
        "min": float(accuracy.min()),
        "std": float(accuracy.std(correction=0)),
    }


def _baseline(scored: Scored) -> dict[str, Any]:
    """Return a baseline's entry."""
    accuracy = _accuracy(scored)
    return {
        "family": scored.judged.population.family,
        "strength": scored.judged.population.strength,
        "n": accuracy.pop("n"),
        "accuracy": accuracy,
        "max_similarity": _mean(scored.max_similarity),
        "dispersion": scored.dispersion,
    }


def _novelty(bank: Scored, ours: Scored) -> dict[str, Any]:
    """Return the novelty measures; those that need two generated models are None for one."""
    within_bank = novelty.iou_matrix(bank.judged.wrong, bank.judged.wrong)
    within = novelty.iou_matrix(ours.judged.wrong, ours.judged.wrong)
    several = ours.size > 1
    largest = ours.max_similarity
    return {
        "max_similarity": {"mean": _mean(largest), "min": float(largest.min()), "max": float(largest.max())},
        "original_max_similarity": _mean(bank.max_similarity),
        "containment": _containment(ours, bank),
        "original_containment": _containment(bank, bank),
        "oo": novelty.mean_similarity(within_bank),
        "gg": novelty.mean_similarity(within) if several else None,
        "og": _mean(ours.similarity),
        "gg_nearest": _mean(novelty.max_similarity(novelty.without_self(within))) if several else None,
        "distinct": novelty.distinct_count(within),
        "dispersion": ours.dispersion,
        "l2_nearest": _nearest(ours),
        "l2_nearest_original": _nearest(bank),
    }


def _containment(scored: Scored, bank: Scored) -> float:
    """Return the mean share of the most similar member's errors that the models repeat."""
    return _mean(novelty.containment(scored.judged.wrong, bank.judged.wrong, scored.similarity))


def _nearest(scored: Scored) -> dict[str, float]:
    """Summarise the distances to the nearest bank member, in normalised units."""
    distances = scored.weights.nearest
    assert distances is not None, "originals and generated models are weighed with distances"
    return {"mean": _mean(distances), "min": float(distances.min())}


def _points(scored: Scored) -> list[dict[str, Any]]:
    """Return one entry a model, for the scatter."""
    population = scored.judged.population
    return [
        {
            "family": population.family,
            "strength": population.strength,
            "accuracy": accuracy,
            "max_similarity": similarity,
        }
        for accuracy, similarity in zip(
            scored.judged.scores().tolist(), scored.max_similarity.tolist(), strict=True
        )
    ]


def _verdict(bank: Scored, ours: Scored, rivals: Sequence[Scored], samples: str) -> dict[str, Any]:
    """Return the verdict in words, and which baselines cover the generated models."""
    points = [_point(rival) for rival in rivals]
    return {
        "sentence": verdict.sentences(_point(ours), _point(bank), points, samples),
        "covered_by": [point.name for point in verdict.covering(_point(ours), points)],
    }


def _point(scored: Scored) -> verdict.Point:
    """Return a population's place in the plane of the verdict."""
    population = scored.judged.population
    name = label(population.family, population.strength)
    rates = 1 - scored.judged.wrong.double().mean(dim=0)
    return verdict.Point(name, scored.size, _mean(scored.max_similarity), rates)


def _mean(values: Tensor) -> float:
    """Return the mean without the last bits, which depend on the order of the sum."""
    return round(float(values.mean()), 12)
