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
from pdiff.evaluation.metrics.soft_voting import finite_or_none, likelihood, normalised
from pdiff.evaluation.metrics.weights import Place, bank_products, distances_to, place, spread
from pdiff.evaluation.populations import Case, Compared
from pdiff.evaluation.schema import ZU, FamilyEntry, Nearest, Novelty, Point, Selected, Spread


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

    def points(self, classes: Tensor | None) -> list[Point]:
        """Return one entry a model; with the samples' classes [N], the models that vote have an NLL."""
        made, alike, known = self.predictions.population, self.resemblance, self.predictions
        figures: dict[str, Sequence[Any]] = {
            "score": self.scores.tolist(),
            "max_similarity": alike.max_similarity.tolist(),
            "containment": alike.containment.tolist(),
            "gg": [None] if alike.to_others is None else alike.to_others.tolist(),
            "nll": [None] * self.size,
        }
        if known.votes is not None and classes is not None:
            votes = zip(known.voters, known.votes, strict=True)
            nll = {index: likelihood(normalised(each), classes) for index, each in votes}
            figures["nll"] = [finite_or_none(nll.get(index)) for index in range(self.size)]
        if known.validation is not None:
            figures["validation"] = known.validation.tolist()
        if made.files:
            figures["file"] = made.files
        own: dict[str, Any] = {"family": made.family, "strength": made.strength, "run": made.run}
        rows = zip(*figures.values(), strict=True)
        return [Point(**own, **dict(zip(figures, row, strict=True))) for row in rows]


def family_entry(populations: Sequence[Measured]) -> FamilyEntry:
    """Return the entry of a family: of one population, or of the runs of one method.

    The best is chosen by the scores on validation, where there are some.
    """
    made, alike = populations[0].predictions.population, [each.resemblance for each in populations]
    scores = torch.cat([each.scores for each in populations])
    others = [each.to_others for each in alike if each.to_others is not None]
    return FamilyEntry(
        family=made.family,
        strength=made.strength,
        access=made.access,
        n=len(scores),
        score=_spread(scores),
        best=_best([each.predictions for each in populations], scores),
        max_similarity=_mean(*(each.max_similarity for each in alike)),
        containment=_mean(*(each.containment for each in alike)),
        gg=_mean(*others) if others else None,
        dispersion=_dispersion(populations),
    )


def _best(runs: Sequence[Predictions], scores: Tensor) -> Selected | None:
    """Return the model of the runs that is best on validation; `scores` are those on the split."""
    known = [each.validation for each in runs if each.validation is not None]
    if not known:
        return None
    validation, metric = torch.cat(known), runs[0].metric
    index = int(validation.argmax() if metric is None or metric.higher_is_better else validation.argmin())
    files = [file for each in runs for file in each.population.files]
    return Selected(
        index=index, file=files[index], validation=float(validation[index]), test=float(scores[index])
    )


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
    assert own is not None, "originals are measured in every way"
    largest = torch.cat([each.max_similarity for each in ours])
    to_nearest = [each.to_nearest for each in ours if each.to_nearest is not None]
    aligned = [place.aligned for place in places if place.aligned is not None]
    return Novelty(
        similarities=(float(largest.min()), float(largest.max())),
        og=_mean(*(each.to_members for each in ours)),
        gg_nearest=_mean(*to_nearest) if to_nearest else None,
        distinct=distinct_count(torch.cat([run.predictions.wrong for run in runs])),
        distinct_original=distinct_count(original.predictions.wrong),
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


def _spread(scores: Tensor) -> Spread:
    """Summarise scores; the std is the population's, 0 for one model."""
    low, high, std = float(scores.min()), float(scores.max()), float(scores.std(correction=0))
    return Spread(max=high, mean=_mean(scores), min=low, std=std)


def _dispersion(runs: Sequence[Measured]) -> float | None:
    """Return the dispersion ratio within runs, each as far as it is defined (RMS over their models)."""
    if len(runs) == 1:
        return runs[0].dispersion
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
