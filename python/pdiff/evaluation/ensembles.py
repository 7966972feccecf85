"""What the models are worth together: soft votes of n of them, from the bank, generated, and both.

A soft vote is the mean of the models' class probabilities. It is judged by the fraction of samples whose
largest probability is the target's, the negative log-likelihood, and the expected calibration error with 15
bins of equal width (Guo et al. 2017, arXiv 1706.04599).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdiff.rng import numpy_generator

__all__ = ["BUDGET", "DRAWS", "SIZES", "calibration_error", "vote_table"]

SIZES = (1, 2, 5, 10, 20, 50)
DRAWS = 8
"""Sets of n models that vote: one alone says as much of its luck as of n."""
BUDGET = 2 * 2**30
"""Bytes of probabilities of all families together, beyond which no votes are taken."""
_NAMES = ("score", "nll", "ece")
_BINS = 15
_TINY = 2.0**-24
"""The smallest positive f16: what is below it is rounded to 0, which has no logarithm."""


def vote_table(
    original: Sequence[Tensor],
    generated: Sequence[Tensor],
    gaussian: Sequence[Tensor],
    targets: Tensor,
    seed: int,
) -> dict[str, Any]:
    """Return the part `votes` of the results from probabilities f16 [V, N, C], one tensor a run.

    Up to `DRAWS` random sets of n models vote, different ones: a single set where it holds all models.
    `mixed` are as many generated models as originals, a generated one more where n is odd. `score`, `nll` and
    `ece` are means over the draws, `std` holds their standard deviations. A figure is None where there are
    fewer than n models, a deviation also where there is one draw. `targets` are classes i64 [N].
    """
    ours, theirs = _models(generated), _models(original)
    pools = {"original": theirs, "generated": ours, "gaussian": _models(gaussian)}
    orders = {name: _orders(len(pool), seed, name) for name, pool in pools.items()}
    families = {name: _figures(pool, orders[name], targets) for name, pool in pools.items()}
    mixed = [
        _interleaved(first, [len(ours) + index for index in second])
        for first, second in zip(orders["generated"], orders["original"], strict=True)
    ]
    families["mixed"] = _figures([*ours, *theirs], mixed, targets)
    return {"sizes": list(SIZES), "families": families}


def _figures(models: Sequence[Tensor], orders: Sequence[Sequence[int]], targets: Tensor) -> dict[str, Any]:
    """Return what the first n of `models` [N, C] in each order are worth, for every size n."""
    found: list[list[tuple[float, float, float]]] = [[] for _ in SIZES]
    seen: set[frozenset[int]] = set()
    for order in orders:
        total, counted = torch.zeros(models[0].shape), 0
        for size, figures in zip(SIZES, found, strict=True):
            if size > len(order):
                break
            for index in order[counted:size]:
                total += models[index]
            counted = size
            if (chosen := frozenset(order[:size])) not in seen:
                seen.add(chosen)
                figures.append(_worth(total, targets))
    return {
        "draws": [len(each) for each in found],
        **_by_name([_over_draws(np.mean, each, 1) for each in found]),
        "std": _by_name([_over_draws(np.std, each, 2) for each in found]),
    }


def _worth(total: Tensor, targets: Tensor) -> tuple[float, float, float]:
    """Return score, NLL and ECE of a vote, a sum of probabilities [N, C]."""
    probabilities = total / total.sum(dim=1, keepdim=True)  # f16 does not add up to 1
    right = probabilities[torch.arange(len(targets)), targets]
    return (
        float((probabilities.argmax(dim=1) == targets).double().mean()),
        float(-right.clamp(min=_TINY).double().log().mean()),
        calibration_error(probabilities, targets),
    )


def _over_draws(
    summarise: Callable[..., Any], draws: Sequence[tuple[float, float, float]], least: int
) -> list[float | None]:
    """Return the summary of each figure over the draws; None where there are fewer than `least`."""
    return [None] * len(_NAMES) if len(draws) < least else list(map(float, summarise(draws, axis=0)))


def _by_name(sizes: Sequence[Sequence[float | None]]) -> dict[str, list[float | None]]:
    """Return each figure's values, one a size."""
    return {name: [each[place] for each in sizes] for place, name in enumerate(_NAMES)}


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Return the expected calibration error: Σ over bins of |mean confidence − accuracy| · share of samples.

    `probabilities` f32 [N, C], `targets` i64 [N]; a bin holds confidences in (i/15, (i+1)/15].
    """
    confidence, chosen = probabilities.double().max(dim=1)
    gap = confidence - (chosen == targets).double()
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    sums = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, gap)
    return float(sums.abs().sum() / len(targets))


def _models(runs: Sequence[Tensor]) -> list[Tensor]:
    """Return the models of all runs, [N, C] each."""
    return [model for run in runs for model in run]


def _orders(models: int, seed: int, family: str) -> list[list[int]]:
    """Return `DRAWS` random orders of models, as many of them as the largest vote needs."""
    return [
        numpy_generator(seed, f"evaluate/votes/{family}", draw).permutation(models)[: SIZES[-1]].tolist()
        for draw in range(DRAWS)
    ]


def _interleaved(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """Return models of two families in turn, so that the first n hold half of each, `a` first."""
    return [model for pair in zip(a, b, strict=False) for model in pair][: SIZES[-1]]
