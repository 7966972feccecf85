"""Find the Pareto front of the baselines: the best score at a similarity or below, in both planes.

Scores are oriented so that higher is better; similarities are lower for newer models. Whoever has two
families has their mixtures too: a share 1 − p of the one's models and p of the other's. A mixture's mean
score and mean max-similarity are the same mixture of the families' means, so in the plane of max-similarity
mixtures are the chords between families, exactly, and the front is the upper hull, from the leftmost
family to the best one.

The mean similarity within a mixture is (1 − p)² GG₁ + 2p(1 − p) G₁₂ + p² GG₂, with G₁₂ the mean similarity
between the families. IoU is a positive definite kernel (Bouchard et al. 2013), so this is convex in p: a
mixture is as novel as the chord says or more, most of all where two families err differently. Chords would
leave something out to the disadvantage of the baselines, so the front of GG is made of the mixtures
themselves, of every two families.

Left of the leftmost family both fronts go on flat: the baselines are not said to be worse there than they
were seen to be, also where their own mixtures are.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_STEPS = 64
_SLACK = 1e-12
"""Rounding of a root of the quadratic, in units of similarity."""


class Mixture(NamedTuple):
    """What the baselines reach: a share `1 − share` of family `first` and `share` of family `second`."""

    score: float
    first: int
    second: int
    share: float


def vertices(similarity: Values, score: Values) -> NDArray[np.int64]:
    """Return the families that are vertices of the front of max-similarity, from left to right: [V].

    Both arguments are [F], F ≥ 1. Scores rise strictly along the vertices, the slopes between them fall.
    """
    chain: list[int] = []
    for index in np.lexsort((-score, similarity)).tolist():
        if chain and score[index] <= score[chain[-1]]:
            continue  # the baselines have a better score further left
        while len(chain) > 1 and not _falls(similarity, score, chain[-2], chain[-1], index):
            chain.pop()
        chain.append(index)
    return np.array(chain, dtype=np.int64)


def _falls(x: Values, y: Values, a: int, b: int, c: int) -> bool:
    """Return whether the slope falls at `b`, so that it is a vertex of the upper hull."""
    return bool((y[b] - y[a]) * (x[c] - x[b]) > (y[c] - y[b]) * (x[b] - x[a]))


def best_at_similarity(limit: float, similarity: Values, score: Values) -> Mixture:
    """Return the best that the families [F] reach at max-similarity `limit` or below."""
    front = vertices(similarity, score)
    right = int(np.searchsorted(similarity[front], limit, side="right"))
    first = int(front[max(right - 1, 0)])
    if right in {0, len(front)}:
        return Mixture(float(score[first]), first, first, 0.0)
    second = int(front[right])
    share = float((limit - similarity[first]) / (similarity[second] - similarity[first]))
    return Mixture(float((1 - share) * score[first] + share * score[second]), first, second, share)


def best_at_gg(limit: float, similarity: Values, score: Values) -> Mixture:
    """Return the best that mixtures of two families reach with a mean similarity of `limit` or below.

    `similarity` [F, F] is the mean similarity within (diagonal) and between families, `score` is [F].
    """
    limit = max(limit, float(similarity.diagonal().min()))
    # p on axis 0: all of the second family, and where the parabola crosses the limit
    shares = np.concatenate([np.ones_like(similarity)[None], _crossings(limit, similarity)])
    reached = _within(shares, similarity) <= limit + _SLACK
    scores = np.where(reached, (1 - shares) * score[:, None] + shares * score, -np.inf)
    best, first, second = np.unravel_index(int(scores.argmax()), scores.shape)
    share = float(shares[best, first, second])
    return Mixture(float(scores[best, first, second]), int(first), int(second), share)


def _coefficients(similarity: Values) -> tuple[Values, Values, Values]:
    """Return a, b, c [F, F] of the similarity a p² + b p + c within the mixture of each two families."""
    own = similarity.diagonal()
    c = np.broadcast_to(own[:, None], similarity.shape)
    return own[:, None] + own - 2 * similarity, 2 * (similarity - c), c


def _within(shares: Values, similarity: Values) -> Values:
    """Return the mean similarity within mixtures: shares p [..., F, F] → [..., F, F]."""
    a, b, c = _coefficients(similarity)
    return (a * shares + b) * shares + c


def _crossings(limit: float, similarity: Values) -> Values:
    """Return the shares in [0, 1] at which each parabola is `limit`, else 0 or 1: [2, F, F]."""
    a, b, c = _coefficients(similarity)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(b * b - 4 * a * (c - limit), 0))
        # the stable form: b and root are added with the same sign
        q = -(b + np.copysign(root, b)) / 2
        roots = np.stack([q / a, (c - limit) / q])
    return np.clip(np.nan_to_num(roots, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


def gg_front(similarity: Values, score: Values) -> list[tuple[float, float]]:
    """Return points of the front of GG from the leftmost family to the best one: (GG, score)."""
    own = similarity.diagonal()
    limits = np.unique(np.append(np.linspace(own.min(), own[score == score.max()].min(), _STEPS), own))
    limits = limits[limits <= own[score == score.max()].min()]
    return [(float(limit), best_at_gg(float(limit), similarity, score).score) for limit in limits]
