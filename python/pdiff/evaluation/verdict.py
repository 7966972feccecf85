"""A few plain sentences on where the generated models stand, and nothing that the numbers do not say.

In the plane of mean accuracy against mean max-similarity, a baseline *covers* the generated models if it is
at least as accurate at the same or a lower max-similarity. Where none does, two baselines on either side
still bound what is easy: a mixture of their models has any point of the chord between them. The generated
models are above the baselines only if they beat both by more than two standard errors; where the baselines
do not lie on both sides, nothing is claimed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Point", "best_rival", "covering", "lead", "sentences"]


@dataclass(frozen=True)
class Point:
    """A family's place in the plane."""

    name: str
    models: int
    similarity: float
    """Mean max-similarity."""
    rates: Tensor
    """F64 [N], for each sample the fraction of the models that are right."""

    @property
    def accuracy(self) -> float:
        """Mean accuracy, a fraction."""
        return round(float(self.rates.mean()), 12)

    def __str__(self) -> str:
        return f"{_percent(self.accuracy)} at {self.similarity:.3f}"


def covering(generated: Point, baselines: Sequence[Point]) -> list[Point]:
    """Return the baselines that are as accurate and as novel as `generated` or more, most accurate first."""
    better = [
        b for b in baselines if b.similarity <= generated.similarity and b.accuracy >= generated.accuracy
    ]
    return sorted(better, key=lambda point: -point.accuracy)


def best_rival(similarity: float, baselines: Sequence[Point]) -> Point | None:
    """Return the most accurate baseline, or mixture of two, at `similarity` or below.

    None if all baselines lie on one side of it: nothing is extrapolated.
    """
    lower = [point for point in baselines if point.similarity <= similarity]
    higher = [point for point in baselines if point.similarity > similarity]
    if not lower or not (higher or any(point.similarity == similarity for point in lower)):
        return None
    mixtures = [_mixture(low, high, similarity) for low in lower for high in higher]
    return max([*lower, *mixtures], key=lambda point: point.accuracy)


def _mixture(low: Point, high: Point, similarity: float) -> Point:
    """Return the mixture of two families' models that has `similarity` on average."""
    share = (similarity - low.similarity) / (high.similarity - low.similarity)
    rates = (1 - share) * low.rates + share * high.rates
    return Point(f"mixture of {low.name} and {high.name}", low.models + high.models, similarity, rates)


def lead(generated: Point, rival: Point) -> tuple[float, float]:
    """Return by how much `generated` is more accurate, and the standard error over samples (paired)."""
    difference = generated.rates - rival.rates
    return float(difference.mean()), float(difference.std(correction=0)) / math.sqrt(len(difference))


def sentences(generated: Point, original: Point, baselines: Sequence[Point], samples: str) -> str:
    """Return the verdict; `samples` says on what: `10,000 test samples`."""
    facts = (
        f"{_counted(generated.models, 'generated model')}: {_percent(generated.accuracy)} mean accuracy on "
        f"{samples} ({_counted(original.models, 'original')}: {_percent(original.accuracy)}), "
        f"max-similarity {generated.similarity:.3f}."
    )
    return f"{facts} {_comparison(generated, baselines)}"


def _comparison(generated: Point, baselines: Sequence[Point]) -> str:
    """Say how `generated` compares with the baselines."""
    if better := covering(generated, baselines):
        others = f", and so {_are(len(better) - 1)}" if len(better) > 1 else ""
        return (
            f"At this or a lower max-similarity the {better[0].name} is at least as accurate "
            f"({better[0]}){others}: not above the baselines."
        )
    rival = best_rival(generated.similarity, baselines)
    if rival is None:
        return _no_bracket(generated, baselines)
    reach = f"At this or a lower max-similarity the baselines reach {rival} ({rival.name})"
    gain, error = lead(generated, rival)
    if gain <= 0:
        return f"{reach}: not above the baselines."
    points = f"{100 * gain:.2f} ± {200 * error:.2f} points"
    if gain <= 2 * error:
        return f"{reach}; {points} are too little to tell apart: not above the baselines."
    return f"{reach}: {points} above these baselines, in this plane and with the error of the samples alone."


def _no_bracket(generated: Point, baselines: Sequence[Point]) -> str:
    """Say that the baselines do not reach the generated models' max-similarity."""
    if not baselines:
        return "No baselines were evaluated, so nothing is said about how hard this is."
    lowest = min(baselines, key=lambda point: point.similarity)
    highest = max(baselines, key=lambda point: point.similarity)
    side, nearest = ("low", lowest) if generated.similarity < lowest.similarity else ("high", highest)
    return (
        f"No baseline has a max-similarity as {side} (the nearest is the {nearest.name}, {nearest}), "
        "so these numbers do not say whether the generated models are above the baselines."
    )


def _are(count: int) -> str:
    return "is 1 other" if count == 1 else f"are {count} others"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}%"
