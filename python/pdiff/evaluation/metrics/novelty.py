"""Measure how good and how new populations are, and put it into entries of the results.

The test of copying is Meehan, Chaudhuri and Dasgupta's, *A Non-Parametric Test to Detect Data-Copying in
Generative Models* (arXiv 2004.05675): the Mann-Whitney U of the distances to the nearest training member,
generated against held-out models, as a z score. About 0 where both lie as near, far below 0 for copies, far
above 0 for models that are further away than anything the bank holds.

In a bank of one trajectory a held-out member lies between the checkpoints before and after it, nearer to them
than independent draws of any kind are to a member. There z is far above 0 even for the baselines (measured:
about 7 with 50 models and 30 held out), and a value above 0 says nothing about how new a model is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.metrics.errors import Resemblance, distinct_count, resemblance
from pdiff.evaluation.metrics.weights import Place, bank_products, distances_to, place, spread
from pdiff.evaluation.populations import Case, Compared
from pdiff.evaluation.schema import (
    ZU,
    ControlEntry,
    EnsembleEntry,
    FamilyEntry,
    Nearest,
    Novelty,
    Point,
    Range,
    Selected,
    Spread,
    Summary,
)


@dataclass(frozen=True)
class Measured:
    """What was measured of a population of M models."""

    predictions: Predictions
    resemblance: Resemblance
    dispersion: float | None
    """RMS distance to the own mean over the bank's; None where one of them is not defined or 0."""
    place: Place | None
    """Of originals and generated models."""

    @property
    def size(self) -> int:
        """M."""
        return self.predictions.population.size

    @cached_property
    def scores(self) -> Tensor:
        """F64 [M], in the metric's unit."""
        return self.predictions.scores()

    @property
    def mean(self) -> float:
        """Mean score."""
        return _mean(self.scores)

    @property
    def max_similarity(self) -> float:
        """Mean max-similarity."""
        return _mean(self.resemblance.max_similarity)

    @property
    def gg(self) -> float | None:
        """Mean similarity of two models; None for one."""
        return None if self.resemblance.to_others is None else _mean(self.resemblance.to_others)

    @staticmethod
    def summary(populations: Sequence["Measured"], selected: Selected | None) -> Summary:
        """Summarise the scores of all runs, or of the originals, and of the model that validation selects."""
        scores = torch.cat([each.scores for each in populations])
        best = None if selected is None else selected.test
        return Summary(n=len(scores), best=best, selected=selected, **_spread(scores))

    def average_entry(self) -> EnsembleEntry:
        """Return the entry of the average of all members."""
        return EnsembleEntry(n=self.size, mean=self.mean, max_similarity=self.max_similarity)

    def baseline_entry(self) -> FamilyEntry:
        """Return a baseline's entry."""
        made = self.predictions.population
        return FamilyEntry(family=made.family, strength=made.strength, league=made.access, **self._family())

    def control_entry(self) -> ControlEntry:
        """Return a control's entry."""
        return ControlEntry(name=self.predictions.population.family, **self._family())

    def _family(self) -> dict[str, Any]:
        """Return what is said of baselines and of controls."""
        return {
            "n": self.size,
            "score": Spread(**_spread(self.scores)),
            "max_similarity": self.max_similarity,
            "containment": _mean(self.resemblance.containment),
            "gg": self.gg,
            "dispersion": self.dispersion,
        }

    def points(self) -> list[Point]:
        """Return one entry a model, for the scatters."""
        made, alike = self.predictions.population, self.resemblance
        others = [None] if alike.to_others is None else alike.to_others.tolist()
        figures = zip(self.scores.tolist(), alike.max_similarity.tolist(), others, strict=True)
        own: dict[str, Any] = {"family": made.family, "strength": made.strength, "run": made.run}
        return [Point(**own, score=score, max_similarity=near, gg=gg) for score, near, gg in figures]


def measure(case: Case, predicted: Compared[Predictions]) -> Compared[Measured]:
    """Measure everybody's errors beside the members', and their weights.

    Distances are of originals and generated models, the originals' to the members that the first run learned
    from.
    """
    bank, original = case.bank, predicted.original
    own = spread(original.population, bank)

    def one(each: Predictions) -> Measured:
        population, near = each.population, None
        if each is original or population.family == "generated":
            near = place(population, bank, held_out=case.runs[population.run].held_out, align=case.align)
        spreads = own if each is original else spread(population, bank)
        dispersion = spreads / own if own and spreads is not None else None
        return Measured(each, resemblance(each.wrong, original.wrong), dispersion, near)

    return predicted.map(one)


def novelty(case: Case, original: Measured, runs: Sequence[Measured], places: Sequence[Place]) -> Novelty:
    """Return the novelty measures; those that need two generated models of a run are None without."""
    ours, own = [run.resemblance for run in runs], original.place
    assert own is not None and original.gg is not None, "originals are measured in every way, and two or more"
    largest = torch.cat([each.max_similarity for each in ours])
    to_others = [each.to_others for each in ours if each.to_others is not None]
    to_nearest = [each.to_nearest for each in ours if each.to_nearest is not None]
    aligned = [place.aligned for place in places if place.aligned is not None]
    return Novelty(
        max_similarity=Range(mean=_mean(largest), min=float(largest.min()), max=float(largest.max())),
        original_max_similarity=original.max_similarity,
        containment=_mean(*(each.containment for each in ours)),
        original_containment=_mean(original.resemblance.containment),
        oo=original.gg,
        gg=_mean(*to_others) if to_others else None,
        og=_mean(*(each.to_members for each in ours)),
        gg_nearest=_mean(*to_nearest) if to_nearest else None,
        distinct=distinct_count(torch.cat([run.predictions.wrong for run in runs])),
        distinct_original=distinct_count(original.predictions.wrong),
        dispersion=_dispersion(runs),
        l2_nearest=_nearest([place.normalised for place in places]),
        l2_nearest_original=_nearest([own.normalised]),
        l2_nearest_raw=_nearest([place.raw for place in places]),
        l2_nearest_raw_original=_nearest([own.raw]),
        l2_nearest_aligned=_nearest(aligned) if aligned else None,
        cosine=_mean(*(place.cosine for place in places)),
        z_u=copying(case.bank, places, [run.held_out for run in case.runs]),
    )


def _mean(*parts: Tensor) -> float:
    """Return the mean of all parts without the last bits, which depend on the order of the sum."""
    return round(float(torch.cat(parts).mean()), 12)


def _spread(scores: Tensor) -> dict[str, float]:
    """Summarise scores; the std is the population's, 0 for one model."""
    low, high, std = float(scores.min()), float(scores.max()), float(scores.std(correction=0))
    return {"max": high, "mean": _mean(scores), "min": low, "std": std}


def _dispersion(runs: Sequence[Measured]) -> float | None:
    """Return the dispersion ratio within runs, each as far as it is defined (RMS over their models)."""
    ratios = [(run.size - 1, run.dispersion) for run in runs if run.dispersion is not None]
    squares, weights = sum(n * ratio**2 for n, ratio in ratios), sum(n for n, _ in ratios)
    return float((squares / weights) ** 0.5) if ratios else None


def _nearest(distances: Sequence[Tensor]) -> Nearest:
    """Summarise distances to the nearest member."""
    return Nearest(mean=_mean(*distances), min=float(torch.cat(list(distances)).min()))


def mann_whitney_z(a: Tensor, b: Tensor) -> float | None:
    """Return the z score of Mann and Whitney's U of two samples, [A] and [B]: below 0 where `a` is smaller.

    The normal approximation with the correction for ties and without one for continuity. None where every
    value is the same, and nothing can be said.
    """
    values, counts = torch.unique(torch.cat([a, b]).double(), return_counts=True)
    ranks = counts.cumsum(0).double() - (counts - 1) / 2  # the mean rank of those that are tied
    n, m, total = len(a), len(b), len(a) + len(b)
    u = float(ranks[torch.searchsorted(values, a.double())].sum()) - n * (n + 1) / 2
    ties = float((counts.double() ** 3 - counts).sum()) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - ties)
    return (u - n * m / 2) / math.sqrt(variance) if variance > 0 else None


def copying(bank: Bank, places: Sequence[Place], held_out: Sequence[tuple[int, ...]]) -> ZU:
    """Return Z_U of all runs that held members out, each run's distances beside those of its own members."""
    runs = [(place, list(members)) for place, members in zip(places, held_out, strict=True) if members]
    if not runs:
        return ZU(value=None, reason="no member is known to be held out")
    generated = torch.cat([place.training for place, _ in runs])
    members = torch.cat([_to_training(bank, members) for _, members in runs])
    value = mann_whitney_z(generated, members)
    if value is None:
        return ZU(value=None, reason="all distances are the same")
    return ZU(value=value, generated=len(generated), held_out=len(members))


def _to_training(bank: Bank, held_out: list[int]) -> Tensor:
    """Return the distance of each held-out member to the nearest of the others: f64 [H]."""
    squared = bank_products(bank).squared_distances()[held_out]
    squared[:, held_out] = torch.inf
    return distances_to(bank.batch(held_out, bank.normalizer("tensor")), squared.argmin(dim=1), bank)
