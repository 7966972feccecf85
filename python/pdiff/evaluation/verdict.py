"""One sentence that says where the generated models stand, and nothing that the numbers do not say.

In the plane of mean accuracy against mean max-similarity, a baseline *covers* the generated models if it is
at least as accurate at the same or a lower max-similarity. Where none does, two baselines on either side
still bound what is easy: a mixture of their models has any point of the chord between them. Above that, the
generated models are above these baselines; where no baseline lies on one side, nothing can be said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Point", "covering", "mixture_bound", "sentence"]


@dataclass(frozen=True)
class Point:
    """A family's place in the plane, and how many models it is the mean of."""

    name: str
    models: int
    accuracy: float
    """Mean accuracy, a fraction."""
    similarity: float
    """Mean max-similarity."""

    def __str__(self) -> str:
        return f"{_percent(self.accuracy)} at {self.similarity:.3f}"


def covering(generated: Point, baselines: Sequence[Point]) -> list[Point]:
    """Return the baselines that are as accurate and as novel as `generated` or more, most accurate first."""
    better = [
        b for b in baselines if b.similarity <= generated.similarity and b.accuracy >= generated.accuracy
    ]
    return sorted(better, key=lambda point: -point.accuracy)


def mixture_bound(similarity: float, baselines: Sequence[Point]) -> tuple[float, Point, Point] | None:
    """Return the best accuracy that a mixture of two baselines has at `similarity`, and the two.

    None if no baseline lies on one of the sides: nothing is extrapolated.
    """
    chords = [
        (_on_chord(similarity, low, high), low, high)
        for low in baselines
        for high in baselines
        if low.similarity <= similarity <= high.similarity
    ]
    return max(chords, key=lambda chord: chord[0], default=None)


def _on_chord(similarity: float, low: Point, high: Point) -> float:
    """Return the accuracy at `similarity` on the line from `low` to `high`."""
    width = high.similarity - low.similarity
    share = (similarity - low.similarity) / width if width > 0 else 0.0
    return low.accuracy + share * (high.accuracy - low.accuracy)


def sentence(generated: Point, original: Point, baselines: Sequence[Point], samples: str) -> str:
    """Return the verdict; `samples` says on what: `10,000 test samples`."""
    facts = (
        f"{_counted(generated.models, 'generated model')}: {_percent(generated.accuracy)} mean accuracy "
        f"on {samples} ({_counted(original.models, 'original')}: {_percent(original.accuracy)}), "
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
    bound = mixture_bound(generated.similarity, baselines)
    if bound is None:
        return _no_bracket(generated, baselines)
    accuracy, low, high = bound
    rival = f"the {low.name}" if low == high else f"a mixture of {low.name} ({low}) and {high.name} ({high})"
    if generated.accuracy <= accuracy:
        return f"At this max-similarity {rival} has {_percent(accuracy)}: not above the baselines."
    return (
        f"No baseline is as accurate at this or a lower max-similarity; {rival} has {_percent(accuracy)} at "
        f"this one: {100 * (generated.accuracy - accuracy):.2f} points above these baselines, in this plane "
        "and without an interval."
    )


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
