"""Draw distributions: each family's scores as strips of points, and the values of tensors as histograms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator, ScalarFormatter

from pdiff.common.wording import shown
from pdiff.evaluation.schema import Histogram, Results, Scale
from pdiff.report.marks import OURS, marker
from pdiff.report.plot import NARROW, WIDE, Colours, Plot, is_wide, plain
from pdiff.report.tables import called

Values = npt.NDArray[np.float64]

_GOLDEN = (5**0.5 - 1) / 2
_ROW = 1.65
"""Height of a row of histograms, in inches."""
_LINES = {"original": "-", "generated": "-", "gaussian": (0, (3, 1.5))}


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


def clouds(results: Results) -> list[Cloud]:
    """Group the points by family and strength: originals, the average of all, then as they come."""
    scale = results.task.metric
    groups: dict[tuple[str, float | None], list[tuple[float, float, float]]]
    groups = {("original", None): [], ("ensemble", None): []}
    for point in results.points:
        gg = np.nan if point.gg is None else point.gg
        place = (scale.drawn(point.score), point.max_similarity, gg)
        groups.setdefault((point.family, point.strength), []).append(place)
    return [Cloud(*key, *np.array(each, dtype=np.float64).T) for key, each in groups.items() if each]


def worst_drawn(results: Results) -> float:
    """Return the worst score that is drawn, so that wrecked baselines do not flatten the rest.

    Originals, generated models and the average of all are always in view, and as much again on the worse
    side of them, at least 2 points (2 % of the best score, where scores are no fractions).
    """
    scale = results.task.metric
    sign = 1.0 if scale.higher_is_better else -1.0
    ours = [sign * point.score for point in results.points if point.family in OURS]
    everything = [sign * point.score for point in results.points]
    margin = max(0.02 if scale.percent else 0.02 * abs(max(ours)), max(ours) - min(ours))
    return float(sign * max(min(everything), min(ours) - margin))


def hidden(results: Results) -> int:
    """Return how many models are worse than `worst_drawn`."""
    scale, limit = results.task.metric, worst_drawn(results)
    return sum(scale.better(limit, point.score) for point in results.points)


def score_axis(
    axes: Axes, which: Literal["x", "y"], found: Sequence[Cloud], worst: float, scale: Scale
) -> None:
    """Set the limits of an axis of scores to what is not worse than `worst`, with a little room.

    Better is up or right. `worst` is in the unit of the axis.
    """
    every = np.concatenate([cloud.score for cloud in found])
    seen = every[~_worse(every, worst, scale)]
    low, high = float(seen.min()), float(seen.max())
    room = 0.06 * (high - low) or 0.02 * (abs(high) or 1)
    low, high = low - room, high + room
    if scale.percent:
        high = min(high, 100 + room / 2)
    ends = (low, high) if scale.higher_is_better else (high, low)
    (axes.set_xlim if which == "x" else axes.set_ylim)(*ends)


def strips(results: Results) -> Plot:
    """Draw each family's scores as a strip of points with a bar at the mean."""
    name = results.task.metric.name
    alternative = f"Strip plot: {name} of each family's models, one point a model, with a bar at the mean."
    height = 0.6 + 0.3 * len(_in_view(results))
    return Plot("strips", alternative, partial(_draw_strips, results), (WIDE, height), (NARROW, height))


def _draw_strips(results: Results, figure: Figure, colours: Colours) -> None:
    """Draw one row a family, the first on top."""
    scale, found = results.task.metric, _in_view(results)
    axes = figure.subplots()
    worst = scale.drawn(worst_drawn(results))
    for row, cloud in enumerate(found):
        seen = cloud.score[~_worse(cloud.score, worst, scale)]
        if len(cloud.score) == 1:
            axes.plot(seen, [row] * len(seen), **marker(cloud.family, 10, colours))
            continue
        jitter = np.arange(1, len(seen) + 1) * _GOLDEN % 1 - 0.5  # spread evenly, the same every time
        axes.plot(seen, row + 0.56 * jitter, alpha=0.5, **marker(cloud.family, 3.2, colours))
        mean = cloud.score.mean()
        if not _worse(mean, worst, scale):
            axes.plot([mean, mean], [row - 0.4, row + 0.4], color=colours["ink"], linewidth=1.6)
    score_axis(axes, "x", found, worst, scale)
    axes.set_ylim(len(found) - 0.45, -0.55)
    names = [plain(called(results, cloud.family, cloud.strength)) for cloud in found]
    axes.set_yticks(range(len(found)), names)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(scale.axis)


def _in_view(results: Results) -> list[Cloud]:
    """Return the families that have a model that is not worse than what is drawn."""
    scale, worst = results.task.metric, worst_drawn(results)
    return [cloud for cloud in clouds(results) if not _worse(cloud.score, scale.drawn(worst), scale).all()]


def _worse(score: Values, limit: float, scale: Scale) -> npt.NDArray[np.bool_]:
    return np.asarray(score < limit if scale.higher_is_better else score > limit)


def parameters(results: Results) -> Plot:
    """Draw `plots.parameters`: one panel a tensor; originals filled, the others as lines."""
    tensors = results.plots.parameters
    names = ", ".join(shown(tensor.name, 60) for tensor in tensors)
    what = "Histograms of the values of each tensor, for originals, generated models and Gaussian draws"
    wide, narrow = (_ROW * math.ceil(len(tensors) / columns) for columns in (4, 2))
    draw = partial(_draw_parameters, tensors)
    return Plot("parameters", f"{what}: {names}.", draw, (WIDE, wide), (NARROW, narrow))


def _draw_parameters(tensors: Sequence[Histogram], figure: Figure, colours: Colours) -> None:
    columns = 4 if is_wide(figure) else 2
    panels = list(figure.subplots(math.ceil(len(tensors) / columns), columns, squeeze=False).flat)
    for axes, tensor in zip(panels, tensors, strict=False):
        _draw_tensor(axes, tensor, colours)
    for axes in panels[len(tensors) :]:
        axes.set_visible(False)
    for label, text in ((figure.supxlabel, "value"), (figure.supylabel, "share of the values")):
        label(text, fontsize="medium", color=colours["muted"])


def _draw_tensor(axes: Axes, tensor: Histogram, colours: Colours) -> None:
    for family, shares in tensor.shares.items():
        first, last = tensor.edges
        edges = np.linspace(first, last, len(shares) + 1)
        colour = colours[family]
        if family == "original":
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(shares, edges, color=colour, linewidth=1.3, linestyle=_LINES[family])
    name = f"{shown(tensor.name, 26)} {'×'.join(map(str, tensor.shape))}"
    axes.set_title(plain(name), fontsize="small")
    axes.set_ylim(bottom=0)
    _tick(axes.xaxis, _short_numbers())
    _tick(axes.yaxis, FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))


def _tick(axis: Axis, formatter: Formatter) -> None:
    axis.set_major_locator(MaxNLocator(3, min_n_ticks=3))
    axis.set_major_formatter(formatter)
    axis.set_tick_params(labelsize="small", pad=5)
    axis.get_offset_text().set_fontsize("small")


def _short_numbers() -> ScalarFormatter:
    """Write numbers of a few characters; a power of ten, and what they have in common, beside the axis."""
    with mpl.rc_context({"axes.formatter.offset_threshold": 2}):
        formatter = ScalarFormatter()
    formatter.set_powerlimits((-2, 4))
    return formatter
