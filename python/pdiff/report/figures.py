"""The two figures of the report: where every model stands, and how accuracies are spread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pdiff.evaluation import label
from pdiff.report.svg import COLOURS, inline_svg, style

__all__ = ["Drawing", "accuracy_floor", "scatter", "strips"]

_MARKERS = {"original": "o", "generated": "o", "ensemble": "*", "noise": "^", "average": "s", "gaussian": "D"}
_OURS = {"original", "generated", "ensemble"}
_GOLDEN = (5**0.5 - 1) / 2

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """One figure at two sizes, of which the page shows the one that fits."""

    wide: str
    narrow: str
    below: int
    """Models under the lower end of the accuracy axis, which are not drawn."""
    floor: float
    """Where the accuracy axis begins, a fraction."""


@dataclass(frozen=True)
class _Cloud:
    """The models of one family at one strength."""

    family: str
    strength: float | None
    similarity: Values
    accuracy: Values
    """In per cent."""


def _clouds(results: Mapping[str, Any]) -> list[_Cloud]:
    """Group the points by family and strength, in the order of the table."""
    groups: dict[tuple[str, float | None], list[tuple[float, float]]] = {
        ("original", None): [],
        ("ensemble", None): [],
    }
    for point in results["points"]:
        key = (point["family"], point["strength"])
        groups.setdefault(key, []).append((point["max_similarity"], 100 * point["accuracy"]))
    return [_Cloud(*key, *np.array(values).T) for key, values in groups.items()]


def accuracy_floor(results: Mapping[str, Any]) -> float:
    """Return where the accuracy axis begins, a fraction, so that wrecked baselines do not flatten the rest.

    Originals, generated models and the ensemble are always in view, and as much again below them, at least
    2 points.
    """
    ours = [p["accuracy"] for p in results["points"] if p["family"] in _OURS]
    everything = [point["accuracy"] for point in results["points"]]
    margin = max(0.02, max(ours) - min(ours))
    return float(max(min(everything), min(ours) - margin))


def scatter(results: Mapping[str, Any]) -> Drawing:
    """Draw accuracy against max-similarity, one point a model and one large mark a family's mean.

    The first panel shows all models, the second is a close-up of the originals and the generated ones.
    """
    alternative = (
        "Two scatter plots, all models and a close-up: accuracy in per cent against max-similarity to the "
        "bank, one point for each model, one large mark for each family's mean; the means are in the table."
    )
    return _both_sizes(results, _draw_scatter, "scatter", alternative, ((9.6, 4.7), (4.6, 8.2)))


def strips(results: Mapping[str, Any]) -> Drawing:
    """Draw each family's accuracies as a strip of points with a bar at the mean."""
    alternative = "Strip plot: the accuracies of each family's models in per cent, with a bar at their mean."
    height = 0.55 + 0.42 * len(_clouds(results))
    return _both_sizes(results, _draw_strips, "strips", alternative, ((9.6, height), (4.6, height)))


def _both_sizes(
    results: Mapping[str, Any],
    draw: Callable[[Figure, Sequence[_Cloud], float], None],
    name: str,
    alternative: str,
    sizes: tuple[tuple[float, float], tuple[float, float]],
) -> Drawing:
    """Draw a figure for wide and narrow pages; `sizes` are in inches, `draw` gets the floor in per cent."""
    clouds, floor = _clouds(results), accuracy_floor(results)
    pictures: list[str] = []
    for size in sizes:
        prefix = f"{name}-{len(pictures)}"
        with style(prefix):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure, clouds, 100 * floor)
            pictures.append(inline_svg(figure, prefix, alternative))
    below = sum(point["accuracy"] < floor for point in results["points"])
    return Drawing(pictures[0], pictures[1], below, floor)


def _draw_scatter(figure: Figure, clouds: Sequence[_Cloud], floor: float) -> None:
    """Draw all models, and the close-up beside or below them."""
    side_by_side = figure.get_figwidth() > figure.get_figheight()
    whole, close = figure.subplots(*((1, 2) if side_by_side else (2, 1)))
    for axes, title, size in ((whole, "all models", 3.0), (close, "close-up", 4.0)):
        _draw_clouds(axes, clouds, floor, size)
        axes.set_title(title, loc="left", fontsize="medium", color=COLOURS["muted"])
        axes.yaxis.set_major_locator(MaxNLocator(7))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("max-similarity (IoU, 0 to 1)\n← more novel · closer to a copy →")
        axes.set_ylabel("accuracy (%)")
    _accuracy_limits(whole.set_ylim, clouds, floor)
    (left, right), (bottom, top) = _close_up(clouds)
    close.set(xlim=(left, right), ylim=(bottom, top))
    frame = Rectangle((left, bottom), right - left, top - bottom)
    frame.set(fill=False, edgecolor=COLOURS["muted"], linewidth=0.7, linestyle=(0, (3, 2)))
    whole.add_patch(frame)


def _draw_clouds(axes: Axes, clouds: Sequence[_Cloud], floor: float, size: float) -> None:
    """Draw the models above the floor, then the noise curve, then the means; ours on top."""
    order = sorted(clouds, key=lambda cloud: cloud.family in _OURS)
    for cloud in order:
        shown = cloud.accuracy >= floor
        axes.plot(cloud.similarity[shown], cloud.accuracy[shown], alpha=0.5, **_marks(cloud.family, size))
    noise = [cloud for cloud in clouds if cloud.family == "noise"]
    curve = ([cloud.similarity.mean() for cloud in noise], [cloud.accuracy.mean() for cloud in noise])
    axes.plot(*curve, color=COLOURS["noise"], linewidth=1, alpha=0.7)
    for cloud in order:
        mark = _marks(cloud.family, 15 if cloud.family == "ensemble" else 9)
        mark |= {"markeredgecolor": COLOURS["paper"], "markeredgewidth": 1.2}
        axes.plot([cloud.similarity.mean()], [cloud.accuracy.mean()], **mark)


def _close_up(clouds: Sequence[_Cloud]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits (max-similarity, accuracy) that hold originals, generated models and ensemble."""
    ours = [cloud for cloud in clouds if cloud.family in _OURS]
    box = []
    for values in (np.concatenate([c.similarity for c in ours]), np.concatenate([c.accuracy for c in ours])):
        low, high = float(values.min()), float(values.max())
        room = max(0.08 * (high - low), 0.005)
        box.append((low - room, high + room))
    return box[0], box[1]


def _draw_strips(figure: Figure, clouds: Sequence[_Cloud], floor: float) -> None:
    """Draw one row a family, the first on top."""
    axes = figure.subplots()
    for row, cloud in enumerate(clouds):
        shown = cloud.accuracy[cloud.accuracy >= floor]
        if len(cloud.accuracy) == 1:
            axes.plot(shown, [row] * len(shown), **_marks(cloud.family, 13))
            continue
        jitter = np.arange(1, len(shown) + 1) * _GOLDEN % 1 - 0.5  # spread evenly, the same every time
        axes.plot(shown, row + 0.56 * jitter, alpha=0.55, **_marks(cloud.family, 4))
        if (mean := cloud.accuracy.mean()) >= floor:
            axes.plot([mean, mean], [row - 0.4, row + 0.4], color=COLOURS["ink"], linewidth=1.6)
    _accuracy_limits(axes.set_xlim, clouds, floor)
    axes.set_ylim(len(clouds) - 0.45, -0.55)
    axes.set_yticks(range(len(clouds)), [label(cloud.family, cloud.strength) for cloud in clouds])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("accuracy (%)")


def _marks(family: str, size: float) -> dict[str, Any]:
    """Return how a family's points are drawn."""
    return {
        "linestyle": "none",
        "marker": _MARKERS.get(family, "o"),
        "markersize": size,
        "markeredgewidth": 0,
        "color": COLOURS.get(family, COLOURS["muted"]),
    }


def _accuracy_limits(
    set_limits: Callable[[float, float], object], clouds: Sequence[_Cloud], floor: float
) -> None:
    """Set the limits of the accuracy axis: a little room on both sides, nothing much above 100 %."""
    top = max(float(cloud.accuracy.max()) for cloud in clouds)
    room = max(0.06 * (top - floor), 0.05)
    set_limits(floor - room, min(top + room, 100 + room / 2))
