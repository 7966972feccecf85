"""The models of one family at one strength, as points; and where an axis of scores begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from pdiff.report.marks import OURS
from pdiff.report.text import Scale

__all__ = ["Cloud", "Values", "clouds", "hidden", "score_axis", "worst_drawn"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cloud:
    """The models of one family at one strength."""

    family: str
    strength: float | None
    score: Values
    """In the unit of the axis."""
    max_similarity: Values
    gg: Values
    """NaN where it is not defined."""


def clouds(results: Mapping[str, Any]) -> list[Cloud]:
    """Group the points by family and strength: originals, their ensemble, then as they come."""
    scale = Scale.of(results)
    groups: dict[tuple[str, float | None], list[tuple[float, float, float]]] = {
        ("original", None): [],
        ("ensemble", None): [],
    }
    for point in results["points"]:
        gg = np.nan if point["gg"] is None else point["gg"]
        place = (scale.drawn(point["score"]), point["max_similarity"], gg)
        groups.setdefault((point["family"], point["strength"]), []).append(place)
    return [Cloud(*key, *np.array(each, dtype=np.float64).T) for key, each in groups.items() if each]


def worst_drawn(results: Mapping[str, Any]) -> float:
    """Return the worst score that is drawn, so that wrecked baselines do not flatten the rest.

    Originals, generated models and the ensemble are always in view, and as much again on the worse side of
    them, at least 2 points (2 % of the best score, where scores are no fractions).
    """
    scale = Scale.of(results)
    sign = 1.0 if scale.higher_is_better else -1.0
    ours = [sign * point["score"] for point in results["points"] if point["family"] in OURS]
    everything = [sign * point["score"] for point in results["points"]]
    margin = max(0.02 if scale.percent else 0.02 * abs(max(ours)), max(ours) - min(ours))
    return float(sign * max(min(everything), min(ours) - margin))


def hidden(results: Mapping[str, Any]) -> int:
    """Return how many models are worse than `worst_drawn`."""
    scale, limit = Scale.of(results), worst_drawn(results)
    return sum(scale.better(limit, point["score"]) for point in results["points"])


def score_axis(axes: Axes, which: str, found: Sequence[Cloud], worst: float, scale: Scale) -> None:
    """Set the limits of an axis of scores to what is not worse than `worst`, with a little room.

    Better is up or right. `worst` is in the unit of the axis.
    """
    every = np.concatenate([cloud.score for cloud in found])
    shown = every[every >= worst] if scale.higher_is_better else every[every <= worst]
    low, high = float(shown.min()), float(shown.max())
    room = 0.06 * (high - low) or 0.02 * (abs(high) or 1)
    low, high = low - room, high + room
    if scale.percent:
        high = min(high, 100 + room / 2)
    ends = (low, high) if scale.higher_is_better else (high, low)
    (axes.set_xlim if which == "x" else axes.set_ylim)(*ends)
