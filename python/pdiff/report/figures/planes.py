"""The two planes of the verdict: score against max-similarity, and against similarity within the family."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pdiff.report.figures.clouds import Cloud, Values, clouds, score_axis, worst_drawn
from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot, is_wide
from pdiff.report.marks import OURS, colour_name, marker
from pdiff.report.text import Scale

__all__ = ["AXES", "SIDES", "Plane", "frontier_line", "plane"]

Plane = Literal["max_similarity", "gg"]

AXES = {
    "max_similarity": "max-similarity to the bank (IoU, 0 to 1)",
    "gg": "similarity within the family (GG, IoU, 0 to 1)",
}
SIDES = {
    "max_similarity": "← more novel · closer to a copy →",
    "gg": "← more diverse · more alike →",
}
_SIZES = {"original": 9.0, "ensemble": 13.0, "generated": 10.5}
"""Of the marks of means, in points."""


def plane(results: Mapping[str, Any], which: Plane) -> Plot:
    """Draw one plane: all models, and a close-up of ours.

    One point a model, one large mark a family's mean, the strengths of a swept baseline joined to a curve,
    the frontier of the baselines as a dashed line, and the margin of the verdict as a bar.
    """
    name = Scale.of(results).name
    alternative = (
        f"Two scatter plots, all models and a close-up: {name} against {AXES[which]}, one point for each "
        "model, one large mark for each family's mean, a line for the frontier that the baselines reach; "
        "means and margins are in the table and the verdict."
    )
    draw = partial(_draw, results, which)
    return Plot(f"plane-{which.replace('_', '-')}", alternative, draw, (WIDE, 4.9), (NARROW, 8.6))


def _draw(results: Mapping[str, Any], which: Plane, figure: Figure, colours: Colours) -> None:
    """Draw all models, and the close-up beside or below them."""
    scale = Scale.of(results)
    found = [cloud for cloud in clouds(results) if not np.isnan(_x(cloud, which)).all()]
    worst = scale.drawn(worst_drawn(results))
    whole, close = figure.subplots(*((1, 2) if is_wide(figure) else (2, 1)))
    score_axis(whole, "y", found, worst, scale)
    (left, right), (bottom, top) = _close_up(found, which, results)
    close.set(xlim=(left, right), ylim=(bottom, top) if scale.higher_is_better else (top, bottom))
    for axes, title, size in ((whole, "all models", 2.6), (close, "close-up", 3.8)):
        _draw_clouds(axes, found, which, size, colours)
        axes.set_xlim(*(_limits(found, which) if axes is whole else (left, right)))
        frontier_line(axes, results, which, colours)
        _draw_margin(axes, results, which, colours)
        axes.set_title(title)
        axes.yaxis.set_major_locator(MaxNLocator(7))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(f"{AXES[which]}\n{SIDES[which]}")
        axes.set_ylabel(scale.axis)
    frame = Rectangle((left, bottom), right - left, top - bottom)
    frame.set(fill=False, edgecolor=colours["muted"], linewidth=0.7, linestyle=(0, (3, 2)))
    whole.add_patch(frame)


def _draw_clouds(axes: Axes, found: Sequence[Cloud], which: Plane, size: float, colours: Colours) -> None:
    """Draw the models in view, then the curves of swept baselines, then the means; ours on top."""
    order = sorted(found, key=lambda cloud: (cloud.family in OURS, cloud.family == "generated"))
    (low, high) = sorted(axes.get_ylim())
    for cloud in order:
        shown = (cloud.score >= low) & (cloud.score <= high)
        alpha = 0.55 if cloud.family in OURS else 0.32
        axes.plot(
            _x(cloud, which)[shown], cloud.score[shown], alpha=alpha, **marker(cloud.family, size, colours)
        )
    for family, swept in groupby(found, key=lambda cloud: cloud.family):
        ordered = sorted(swept, key=lambda cloud: cloud.strength or 0)
        means = [(float(np.nanmean(_x(cloud, which))), float(cloud.score.mean())) for cloud in ordered]
        axes.plot(*zip(*means, strict=True), color=colours[colour_name(family)], linewidth=1.1, alpha=0.75)
    for cloud in order:
        mark = marker(cloud.family, _SIZES.get(cloud.family, 7.5), colours)
        if cloud.family == "original":
            mark |= {"markerfacecolor": colours["paper"], "markeredgewidth": 2.2}
        else:
            mark |= {"markeredgecolor": colours["paper"], "markeredgewidth": 1.0}
        axes.plot([np.nanmean(_x(cloud, which))], [cloud.score.mean()], **mark)


def frontier_line(
    axes: Axes, results: Mapping[str, Any], which: Plane, colours: Colours, colour: str = "ink"
) -> None:
    """Draw the frontier across the axes: flat outside the vertices, where nothing is extrapolated."""
    vertices = results["envelopes"][which]
    if not vertices:
        return
    scale, (left, right) = Scale.of(results), axes.get_xlim()
    x = [min(left, vertices[0][0]), *(v[0] for v in vertices), max(right, vertices[-1][0])]
    y = [scale.drawn(score) for score in (vertices[0][1], *(v[1] for v in vertices), vertices[-1][1])]
    axes.plot(x, y, color=colours[colour], linewidth=1.3, linestyle=(0, (4, 2)), zorder=2.5)
    axes.set_xlim(left, right)


def _draw_margin(axes: Axes, results: Mapping[str, Any], which: Plane, colours: Colours) -> None:
    """Draw a bar from the frontier to the generated models' mean."""
    stand = results["verdict"][f"at_{which}"]
    if stand is None:
        return
    scale = Scale.of(results)
    ends = [scale.drawn(stand["frontier"]), scale.drawn(stand["score"])]
    axes.plot([stand["at"]] * 2, ends, color=colours["generated"], linewidth=2.2, zorder=2.6)


def _x(cloud: Cloud, which: Plane) -> Values:
    return cloud.max_similarity if which == "max_similarity" else cloud.gg


def _limits(found: Sequence[Cloud], which: Plane) -> tuple[float, float]:
    """Return limits that hold all models, within what a similarity can be."""
    values = np.concatenate([_x(cloud, which) for cloud in found])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.04 * (high - low) or 0.02
    return max(low - room, -0.02), min(high + room, 1.02)


def _close_up(
    found: Sequence[Cloud], which: Plane, results: Mapping[str, Any]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits (x, score) that hold originals, generated models, the ensemble and the frontier there."""
    ours = [cloud for cloud in found if cloud.family in OURS]
    stand, scale = results["verdict"][f"at_{which}"], Scale.of(results)
    heights = [] if stand is None else [scale.drawn(stand["frontier"])]
    box = []
    for values in (
        np.concatenate([_x(cloud, which) for cloud in ours]),
        np.concatenate([*(cloud.score for cloud in ours), np.array(heights)]),
    ):
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        room = 0.08 * (high - low) or 0.02 * (abs(high) or 1)
        box.append((low - room, high + room))
    return box[0], box[1]
