"""Measure what models are worth together: soft votes of n of them, from the bank, generated, and both.

A soft vote is the mean of the models' class probabilities. It is measured by the fraction of samples whose
largest probability is the target's, the negative log-likelihood, and the expected calibration error with 15
bins of equal width (Guo et al. 2017, arXiv 1706.04599).
"""

import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdiff.common.rng import numpy_generator
from pdiff.evaluation.schema import VoteFigures, Votes, VoteSpread

POOL = 100
"""Models of a family that may vote, at most: twice the largest vote, so that its sets differ."""
SIZES = (1, 2, 5, 10, 20, 50)
DRAWS = 8
"""Sets of n models that vote: one alone says as much of its luck as of n."""
_NAMES = ("score", "nll", "ece")
_BINS = 15
_TINY = torch.finfo(torch.float32).tiny
"""The smallest normal f32, which stands for what is below it: 0 has no logarithm."""


def vote_table(
    original: Sequence[Tensor],
    generated: Sequence[Tensor],
    gaussian: Sequence[Tensor],
    targets: Tensor,
    seed: int,
) -> Votes:
    """Return what votes are worth from probabilities f32 [V, N, C], one tensor a run.

    `pools` says how many models of each family there are. Of one model the figures are means over all of
    them, of n over `DRAWS` different random sets, or as many as there are; `std` holds the standard
    deviations. `mixed` are as many generated models as originals, a generated one more where n is odd. A
    figure is None where there are fewer than n models, a deviation also where there is one set of them, and
    a size that no family reaches is left out. `targets` are classes i64 [N].
    """
    families = {"original": original, "generated": generated, "gaussian": gaussian}
    pools = {name: [model for run in runs for model in run] for name, runs in families.items()}
    mixed = (pools["generated"], pools["original"])
    parts = {**{name: (pool,) for name, pool in pools.items()}, "mixed": mixed}
    found = {
        name: [_figures(each, size, targets, seed, name) for size in SIZES] for name, each in parts.items()
    }
    reached = [place for place in range(len(SIZES)) if any(figures[place] for figures in found.values())]
    return Votes(
        sizes=[SIZES[place] for place in reached],
        pools={name: len(pool) for name, pool in pools.items()},
        families={name: _summary([figures[place] for place in reached]) for name, figures in found.items()},
    )


def _figures(
    parts: Sequence[Sequence[Tensor]], size: int, targets: Tensor, seed: int, family: str
) -> list[tuple[float, float, float]]:
    """Return what votes of `size` models are worth, as many of each part, of the first ones one more."""
    taken = [(size + place) // len(parts) for place in reversed(range(len(parts)))]
    if 0 in taken:
        return []
    every = [model for part in parts for model in part]
    sets = _sets([len(part) for part in parts], taken, seed, f"evaluate/votes/{family}/{size}")
    return [_worth([every[index] for index in chosen], targets) for chosen in sets]


def _sets(pools: Sequence[int], taken: Sequence[int], seed: int, purpose: str) -> list[tuple[int, ...]]:
    """Return different random sets of models, `taken` of each pool; pools are counted through.

    Of one model each is a set; of more there are `DRAWS`, or all where there are fewer.
    """
    if sum(taken) == 1:
        return [(index,) for index in range(sum(pools))]
    wanted = min(DRAWS, math.prod(map(math.comb, pools, taken)))
    starts = np.cumsum([0, *pools])[:-1]
    found: dict[tuple[int, ...], None] = {}
    draws = count()
    while len(found) < wanted:
        generator = numpy_generator(seed, purpose, next(draws))
        chosen = [
            start + generator.choice(pool, number, replace=False)
            for start, pool, number in zip(starts, pools, taken, strict=True)
        ]
        found[tuple(sorted(np.concatenate(chosen).tolist()))] = None
    return list(found)


def _summary(sizes: Sequence[Sequence[tuple[float, float, float]]]) -> VoteFigures:
    """Return means and standard deviations of the figures of each size."""
    draws = [len(each) for each in sizes]
    return VoteFigures(
        draws=draws, **_over_draws(np.mean, sizes, 1), std=VoteSpread(**_over_draws(np.std, sizes, 2))
    )


def _worth(models: Sequence[Tensor], targets: Tensor) -> tuple[float, float, float]:
    """Return score, NLL and ECE of a vote of models, probabilities [N, C] each."""
    total = torch.zeros(models[0].shape)
    for model in models:
        total += model
    probabilities = normalised(total)
    return (
        float((probabilities.argmax(dim=1) == targets).double().mean()),
        likelihood(probabilities, targets),
        calibration_error(probabilities, targets),
    )


def normalised(votes: Tensor) -> Tensor:
    """Return votes f32 [N, C] of one or several models so that they add up to 1."""
    return votes / votes.sum(dim=1, keepdim=True)


def likelihood(probabilities: Tensor, targets: Tensor) -> float:
    """Return the mean negative log-likelihood of classes i64 [N] under probabilities [N, C]."""
    right = probabilities[torch.arange(len(targets)), targets]
    return float(-right.clamp(min=_TINY).double().log().mean())


def finite_or_none(value: float | None) -> float | None:
    """Return a figure, None for one that is not finite: of outputs that are not."""
    return value if value is not None and math.isfinite(value) else None


def _over_draws(
    summarise: Callable[..., Any], sizes: Sequence[Sequence[tuple[float, float, float]]], least: int
) -> dict[str, list[float | None]]:
    """Return each figure's summaries over the draws, one a size; None where they are fewer than `least`."""
    nothing = [None] * len(_NAMES)
    found = [
        nothing
        if len(each) < least
        else [finite_or_none(value) for value in summarise(each, axis=0).tolist()]
        for each in sizes
    ]
    return {name: [each[place] for each in found] for place, name in enumerate(_NAMES)}


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Return the expected calibration error: Σ over bins of |mean confidence − accuracy| · share of samples.

    `probabilities` f32 [N, C], `targets` i64 [N]; a bin holds confidences in (i/15, (i+1)/15].
    """
    confidence, chosen = probabilities.double().max(dim=1)
    gap = confidence - (chosen == targets).double()
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    sums = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, gap)
    return float(sums.abs().sum() / len(targets))
