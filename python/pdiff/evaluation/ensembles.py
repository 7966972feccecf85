"""What the models are worth together: soft votes of n of them, from the bank, generated, and both.

A soft vote is the mean of the models' class probabilities. It is judged by the fraction of samples whose
largest probability is the target's, the negative log-likelihood, and the expected calibration error with 15
bins of equal width (Guo et al. 2017, arXiv 1706.04599).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff.rng import numpy_generator

__all__ = ["BUDGET", "SIZES", "calibration_error", "vote_table"]

SIZES = (1, 2, 5, 10, 20, 50)
BUDGET = 2 * 2**30
"""Bytes of probabilities of all families together, beyond which no votes are taken."""
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

    The first n models vote, in a random order; `mixed` are as many generated models as originals, a generated
    one first. A figure is None where there are fewer than n models. `targets` are classes i64 [N].
    """
    families = {
        name: _shuffled(votes, seed, name)
        for name, votes in (("original", original), ("generated", generated), ("gaussian", gaussian))
    }
    families["mixed"] = _interleaved(families["generated"], families["original"])
    return {
        "sizes": list(SIZES),
        "families": {name: _figures(votes, targets) for name, votes in families.items()},
    }


def _figures(votes: Tensor, targets: Tensor) -> dict[str, list[float | None]]:
    """Return score, NLL and ECE of the first n models, for every size."""
    figures: dict[str, list[float | None]] = {"score": [], "nll": [], "ece": []}
    total, counted = torch.zeros(votes.shape[1:]), 0
    for size in SIZES:
        if size > len(votes):
            for values in figures.values():
                values.append(None)
            continue
        for vote in votes[counted:size]:
            total += vote
        counted = size
        probabilities = total / total.sum(dim=1, keepdim=True)  # f16 does not add up to 1
        right = probabilities[torch.arange(len(targets)), targets]
        figures["score"].append(float((probabilities.argmax(dim=1) == targets).double().mean()))
        figures["nll"].append(float(-right.clamp(min=_TINY).double().log().mean()))
        figures["ece"].append(calibration_error(probabilities, targets))
    return figures


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Return the expected calibration error: Σ over bins of |mean confidence − accuracy| · share of samples.

    `probabilities` f32 [N, C], `targets` i64 [N]; a bin holds confidences in (i/15, (i+1)/15].
    """
    confidence, chosen = probabilities.double().max(dim=1)
    gap = confidence - (chosen == targets).double()
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    sums = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, gap)
    return float(sums.abs().sum() / len(targets))


def _shuffled(votes: Sequence[Tensor], seed: int, family: str) -> Tensor:
    """Return the models of several runs in one random order, as many as the largest vote needs: [V, N, C]."""
    count = sum(map(len, votes))
    places = [(run, index) for run, each in enumerate(votes) for index in range(len(each))]
    order = numpy_generator(seed, f"evaluate/votes/{family}").permutation(count)[: SIZES[-1]]
    return torch.stack([votes[places[place][0]][places[place][1]] for place in order])


def _interleaved(a: Tensor, b: Tensor) -> Tensor:
    """Return models of two families in turn, so that the first n hold half of each, `a` first."""
    pairs = min(len(a), len(b))
    mixed = torch.stack([a[:pairs], b[:pairs]], dim=1).flatten(0, 1)
    return mixed[: SIZES[-1]]
