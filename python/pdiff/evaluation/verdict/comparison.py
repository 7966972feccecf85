"""Compare generated models with baselines, on all test samples and models or on a bootstrap draw of them.

A draw is how often each sample, and each model, is counted. With every count 1 these are the numbers of the
table; the bootstrap draws others. A model's wrong predictions are a bit a part of a sample, so that the core
compares hundreds of thousands of pairs in milliseconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdiff._core import WrongSets
from pdiff.common.errors import UsageError
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.verdict.pareto_front import Mixture, Values, best_at_gg, best_at_similarity

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """How often samples, models and runs are counted."""

    samples: Tensor | None
    """I64 [N], indices with repeats, as many as there are samples; None for each once."""
    models: Sequence[Counts]
    """For each group (runs of the generator first, then baselines), [M]; their sum is not 0."""
    runs: Counts
    """[R], of the generated folders."""


@dataclass(frozen=True)
class Plane:
    """Where the generated models are in one plane, and what the baselines reach there."""

    at: float
    """Mean max-similarity, or mean similarity within a run (GG)."""
    score: float
    """Mean score, oriented so that higher is better."""
    front: Mixture

    @property
    def margin(self) -> float:
        """By how much the generated models are better than the Pareto front."""
        return self.score - self.front.score


@dataclass(frozen=True)
class Estimates:
    """The means of the generated models and of F baselines; scores are oriented so that higher is better."""

    score: float
    original_score: float
    """NaN where the originals are not among the baselines."""
    max_similarity: float
    gg: float | None
    """Mean similarity of two models of a run; None if no run has two."""
    oo: float | None
    """Mean similarity of two members of the bank; None if there is one."""
    baseline_scores: Values
    """[F]."""
    baseline_similarities: Values
    """[F], mean max-similarities."""
    baseline_gg: Values
    """[F, F], mean similarity within and between families; NaN within a family of one model."""

    @property
    def in_max_similarity(self) -> Plane:
        """The plane of max-similarity."""
        best = best_at_similarity(self.max_similarity, self.baseline_similarities, self.baseline_scores)
        return Plane(self.max_similarity, self.score, best)

    @property
    def over_originals(self) -> float:
        """By how much the generated models are better than the originals."""
        return self.score - self.original_score

    @property
    def concentration(self) -> float | None:
        """GG − OO: how much more alike the generated models are than the members of the bank."""
        return None if self.gg is None or self.oo is None else self.gg - self.oo

    @property
    def several(self) -> NDArray[np.int64]:
        """The baselines of more than one model, which have a GG."""
        return np.flatnonzero(~np.isnan(self.baseline_gg.diagonal()))

    @property
    def in_gg(self) -> Plane | None:
        """The plane of GG; None where it is not defined for the generated models or for no baseline."""
        some = self.several
        if self.gg is None or not len(some):
            return None
        best = best_at_gg(self.gg, self.baseline_gg[np.ix_(some, some)], self.baseline_scores[some])
        first, second = int(some[best.first]), int(some[best.second])
        return Plane(self.gg, self.score, best._replace(first=first, second=second))


@dataclass(frozen=True)
class _Drawn:
    """The m models of a draw, one group after the other; each once, and no group without one."""

    places: NDArray[np.int64]
    """[m], which model of its group each is."""
    weights: Values
    """[m], its share of its group."""
    begins: NDArray[np.int64]
    """[G], the place of the first model of each group."""
    sizes: NDArray[np.int64]
    """[G], how many of the models are of each group."""

    @classmethod
    def of(cls, models: Sequence[Counts]) -> Self:
        """Take the counts of each group."""
        counts, sizes = np.concatenate(models), np.array([len(group) for group in models])
        begins = np.cumsum(sizes) - sizes
        chosen = np.flatnonzero(counts)
        group = np.repeat(np.arange(len(models)), sizes)[chosen]
        weights = counts[chosen] / np.add.reduceat(counts, begins)[group]
        drawn = np.bincount(group, minlength=len(models))
        return cls(chosen - begins[group], weights, np.cumsum(drawn) - drawn, drawn)

    def of_groups(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Repeat each group's value for its models: [G] → [m]."""
        return np.repeat(values, self.sizes)

    def means(self, values: Values) -> Values:
        """Return the groups' means of values [m, …]: [G, …]."""
        weights = self.weights.reshape(-1, *[1] * (values.ndim - 1))
        means: Values = np.add.reduceat(weights * values, self.begins)
        return means


class Comparison:
    """The generated models, run by run, and the baselines, beside the bank's members."""

    def __init__(
        self, bank: Predictions, generated: Sequence[Predictions], baselines: Sequence[Predictions]
    ) -> None:
        if not generated or not baselines:
            raise UsageError("a comparison needs generated models and baselines")
        self.groups = (*generated, *baselines)
        self.runs = len(generated)
        self.samples = bank.wrong.shape[1] // bank.parts
        """N; each sample is drawn with all of its parts."""
        self._bank = bank
        self._is_bank = np.array([group is bank for group in self.groups])
        self._originals = np.flatnonzero(self._is_bank)
        wrong = [bank.wrong, *(group.wrong for group in self.groups)]
        self._sets = WrongSets(torch.cat(wrong).numpy().view(np.uint8))
        self._members = np.arange(len(bank.wrong))
        self.sizes = np.array([len(each) for each in wrong[1:]])
        """[G], how many models each group has."""
        self._starts = len(bank.wrong) + np.cumsum(self.sizes) - self.sizes
        metric = bank.metric
        self._sign = 1.0 if metric is None or metric.higher_is_better else -1.0

    @property
    def baselines(self) -> tuple[Predictions, ...]:
        """The F baselines, the originals among them."""
        return self.groups[self.runs :]

    def oriented(self, score: float) -> float:
        """Turn a score into one of which more is better, and back."""
        return self._sign * score

    def everything(self) -> Draw:
        """Return the draw in which every sample, model and run counts once."""
        return Draw(None, [np.ones(size, np.int64) for size in self.sizes], np.ones(self.runs, np.int64))

    def estimates(self, draw: Draw) -> Estimates:
        """Return everybody's means on a draw."""
        sets = self._sets if draw.samples is None else self._sets.drawn(self._columns(draw.samples).numpy())
        drawn = _Drawn.of(draw.models)
        models = drawn.of_groups(self._starts) + drawn.places
        similarities = drawn.means(self._nearest(sets, models, drawn))
        scores = self._sign * self._scores(draw, sets, models, drawn)
        ours = slice(0, self.runs)
        counted = draw.runs * self.sizes[ours]
        runs = counted / counted.sum()
        within = _within(sets, models, drawn)
        gg = within.diagonal()[ours]
        defined = ~np.isnan(gg) & (runs > 0)
        return Estimates(
            score=float(runs @ scores[ours]),
            original_score=float(scores[self._originals[0]]) if len(self._originals) else math.nan,
            max_similarity=float(runs @ similarities[ours]),
            gg=float(runs[defined] @ gg[defined] / runs[defined].sum()) if defined.any() else None,
            oo=self._oo(sets),
            baseline_scores=scores[self.runs :],
            baseline_similarities=similarities[self.runs :],
            baseline_gg=within[self.runs :, self.runs :],
        )

    def _columns(self, samples: Tensor) -> Tensor:
        """Return the places of all parts of samples, i64 [n] → [n · S]."""
        parts = self._bank.parts
        if parts == 1:
            return samples
        return (samples[:, None] * parts + torch.arange(parts)).flatten()

    def _nearest(self, sets: WrongSets, models: NDArray[np.int64], drawn: _Drawn) -> Values:
        """Return each model's largest similarity to a member, itself excluded: [m]."""
        itself = np.where(drawn.of_groups(self._is_bank), drawn.places, -1)
        largest = np.empty(len(models))
        sets.nearest(models, self._members, itself, largest)
        return largest

    def _oo(self, sets: WrongSets) -> float | None:
        """Return the mean similarity of two members; None if there is one."""
        members = len(self._members)
        if members < 2:
            return None
        sums = np.empty((members, 1))
        sets.sums_after(self._members, np.ones(members), np.array([members]), sums)
        return float(2 * sums.sum() / (members * (members - 1)))

    def _scores(self, draw: Draw, sets: WrongSets, models: NDArray[np.int64], drawn: _Drawn) -> Values:
        """Return the groups' mean scores in the metric's unit: [G]."""
        if self._bank.metric is None:
            errors = np.empty(self._starts[-1] + self.sizes[-1], dtype=np.int64)
            sets.sizes(errors)
            return drawn.means(1 - errors[models] / self._bank.wrong.shape[1])
        scores = [
            group.scores(draw.samples, torch.from_numpy(np.flatnonzero(counts)))
            for group, counts in zip(self.groups, draw.models, strict=True)
        ]
        return drawn.means(torch.cat(scores).numpy())


def _within(sets: WrongSets, models: NDArray[np.int64], drawn: _Drawn) -> Values:
    """Return mean similarities within and between groups: [G, G].

    Within a group the pairs are of different models: one that was drawn twice is not compared with itself.
    NaN within a group of one.
    """
    after = np.empty((len(models), len(drawn.sizes)))
    sets.sums_after(models, drawn.weights, drawn.begins + drawn.sizes, after)
    pairs = drawn.means(after)  # each pair once
    means: Values = pairs + pairs.T
    alone = drawn.sizes < 2
    different = 1 - drawn.means(drawn.weights)  # the share of pairs that are of different models
    others = np.where(alone, np.nan, different)
    np.fill_diagonal(means, means.diagonal() / others)
    return means
