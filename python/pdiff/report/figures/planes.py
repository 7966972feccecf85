"""Draw the verdict: its margins, and the two planes of score against similarity that they come from."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pdiff.evaluation.schema import PlaneEntry, Results, Scale
from pdiff.report.figures.distributions import Cloud, clouds, score_axis, worst_drawn
from pdiff.report.marks import OURS, colour_name, marker
from pdiff.report.plot import NARROW, WIDE, Colours, Plot, around, is_wide, ticks

Plane = Literal["max_similarity", "gg"]

AXES: Mapping[Plane, str] = {
    "max_similarity": "max-similarity to the bank (IoU, 0 to 1)",
    "gg": "similarity within the family (GG, IoU, 0 to 1)",
}
SIDES: Mapping[Plane, str] = {
    "max_similarity": "← more novel · closer to a copy →",
    "gg": "← more diverse · more alike →",
}
_MARGINS: tuple[tuple[Plane, str], ...] = (
    ("max_similarity", "at equal\nmax-similarity"),
    ("gg", "at equal similarity\nwithin (GG)"),
)
_SIZES = {"original": 9.0, "ensemble": 13.0, "generated": 10.5}
"""Of the marks of means, in points."""


def stand(results: Results, which: Plane) -> PlaneEntry | None:
    """Return where the generated models are in one plane; None where it is not defined."""
    found: PlaneEntry | None = getattr(results.verdict, f"at_{which}")
    return found


def margins(results: Results) -> Plot:
    """Draw each plane's margin over the Pareto front as a point with its interval."""
    alternative = " ".join([f"Verdict: {results.verdict.position} the Pareto front.", *_in_words(results)])
    return Plot("verdict", alternative, partial(_draw_margins, results), (WIDE, 1.75), (NARROW, 2.0))


def _in_words(results: Results) -> list[str]:
    scale, level = results.task.metric, results.verdict.bootstrap.level
    words = []
    for which, name in _MARGINS:
        found, where = stand(results, which), name.replace("\n", " ")
        if found is None:
            words.append(f"Not defined {where}.")
        else:
            low, high = map(scale.difference, found.interval)
            margin = f"{scale.difference(found.margin)} {scale.points}"
            words.append(f"{margin} {where}, {level:.0%} interval {low} to {high}.")
    return words


def _draw_margins(results: Results, figure: Figure, colours: Colours) -> None:
    """Draw one row a plane; the Pareto front is the line at 0, better lies to the right."""
    axes, scale = figure.subplots(), results.task.metric
    stands = [stand(results, which) for which, _ in _MARGINS]
    reach = max(_draw_row(axes, row, found, scale, colours) for row, found in enumerate(stands))
    reach = 1.25 * reach or 1.0
    axes.set(xlim=(-reach, reach), ylim=(len(_MARGINS) - 0.4, -0.75))
    axes.axvspan(0, reach, color=colours["good"], alpha=0.08, linewidth=0)
    axes.axvspan(-reach, 0, color=colours["bad"], alpha=0.08, linewidth=0)
    axes.axvline(0, color=colours["ink"], linewidth=1.3, linestyle=(0, (4, 2)))
    for x, text, side in ((0.995, "above →", "right"), (0.005, "← below", "left")):
        axes.text(x, 0.97, text, transform=axes.transAxes, ha=side, va="top", color=colours["muted"])
    axes.set_yticks(range(len(_MARGINS)), [name for _, name in _MARGINS])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7, symmetric=True))
    axes.set_xlabel(f"{scale.points} better than the Pareto front")


def _draw_row(axes: Axes, row: int, found: PlaneEntry | None, scale: Scale, colours: Colours) -> float:
    """Draw one plane's point and interval; return how far they reach from the Pareto front."""
    if found is None:
        axes.text(0, row, "  not defined", va="center", color=colours["muted"])
        return 0.0
    low, high = map(scale.drawn, found.interval)
    margin = scale.drawn(found.margin)
    axes.plot(
        [low, high], [row, row], color=colours["generated"], linewidth=5, alpha=0.45, solid_capstyle="butt"
    )
    axes.plot([margin], [row], **marker("generated", 9, colours))
    text, behind = scale.difference(found.margin), {"facecolor": colours["paper"], "linewidth": 0, "pad": 1}
    axes.annotate(text, (margin, row), (0, 9), textcoords="offset points", ha="center", bbox=behind)
    return max(map(abs, (low, high, margin)))


def plane(results: Results, which: Plane) -> Plot:
    """Draw one plane: all models, and a close-up of ours.

    One point a model, one large mark a family's mean, the strengths of a swept baseline joined to a curve,
    the Pareto front of the baselines as a dashed line, and the margin of the verdict as a bar.
    """
    name = results.task.metric.name
    alternative = (
        f"Two scatter plots, all models and a close-up: {name} against {AXES[which]}, one point for each "
        "model, one large mark for each family's mean, a line for the Pareto front that the baselines reach; "
        "means and margins are in the table and the verdict."
    )
    draw = partial(_draw_plane, results, which)
    return Plot(f"plane-{which.replace('_', '-')}", alternative, draw, (WIDE, 4.9), (NARROW, 8.6))


def _draw_plane(results: Results, which: Plane, figure: Figure, colours: Colours) -> None:
    scale = results.task.metric
    found = [cloud for cloud in clouds(results) if not np.isnan(getattr(cloud, which)).all()]
    worst = scale.drawn(worst_drawn(results))
    whole, close = figure.subplots(*((1, 2) if is_wide(figure) else (2, 1)))
    score_axis(whole, "y", found, worst, scale)
    (left, right), (bottom, top) = _close_up(found, which, results)
    close.set(xlim=(left, right), ylim=(bottom, top) if scale.higher_is_better else (top, bottom))
    for axes, title, size in ((whole, "all models", 2.6), (close, "close-up", 3.8)):
        _draw_clouds(axes, found, which, size, colours)
        axes.set_xlim(*(_limits(found, which) if axes is whole else (left, right)))
        front_line(axes, results, which, colours)
        _draw_margin(axes, results, which, colours)
        axes.set_title(title)
        ticks(axes, x=6)
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
            getattr(cloud, which)[shown],
            cloud.score[shown],
            alpha=alpha,
            **marker(cloud.family, size, colours),
        )
    for family, swept in groupby(found, key=lambda cloud: cloud.family):
        ordered = sorted(swept, key=lambda cloud: cloud.strength or 0)
        means = [(float(np.nanmean(getattr(cloud, which))), float(cloud.score.mean())) for cloud in ordered]
        axes.plot(*zip(*means, strict=True), color=colours[colour_name(family)], linewidth=1.1, alpha=0.75)
    for cloud in order:
        mark = marker(cloud.family, _SIZES.get(cloud.family, 7.5), colours)
        if cloud.family == "original":
            mark |= {"markerfacecolor": colours["paper"], "markeredgewidth": 2.2}
        else:
            mark |= {"markeredgecolor": colours["paper"], "markeredgewidth": 1.0}
        axes.plot([np.nanmean(getattr(cloud, which))], [cloud.score.mean()], **mark)


def front_line(axes: Axes, results: Results, which: Plane, colours: Colours, colour: str = "ink") -> None:
    """Draw the Pareto front across the axes: flat outside the vertices, where nothing is extrapolated."""
    vertices = getattr(results.fronts, which)
    if not vertices:
        return
    scale, (left, right) = results.task.metric, axes.get_xlim()
    x = [min(left, vertices[0][0]), *(v[0] for v in vertices), max(right, vertices[-1][0])]
    y = [scale.drawn(score) for score in (vertices[0][1], *(v[1] for v in vertices), vertices[-1][1])]
    axes.plot(x, y, color=colours[colour], linewidth=1.3, linestyle=(0, (4, 2)), zorder=2.5)
    axes.set_xlim(left, right)


def _draw_margin(axes: Axes, results: Results, which: Plane, colours: Colours) -> None:
    """Draw a bar from the Pareto front to the generated models' mean."""
    found = stand(results, which)
    if found is None:
        return
    scale = results.task.metric
    ends = [scale.drawn(found.front), scale.drawn(found.score)]
    axes.plot([found.at] * 2, ends, color=colours["generated"], linewidth=2.2, zorder=2.6)


def _limits(found: Sequence[Cloud], which: Plane) -> tuple[float, float]:
    """Return limits that hold all models, within what a similarity can be."""
    low, high = around([getattr(cloud, which) for cloud in found], 0.04, 0.02)
    return max(low, -0.02), min(high, 1.02)


def _close_up(
    found: Sequence[Cloud], which: Plane, results: Results
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits (x, score) that hold originals, generated models, their average and the front there."""
    ours = [cloud for cloud in found if cloud.family in OURS]
    there, scale = stand(results, which), results.task.metric
    heights = np.array([] if there is None else [scale.drawn(there.front)])
    x, y = ([getattr(cloud, field) for cloud in ours] for field in (which, "score"))
    return around(x, 0.08), around([*y, heights], 0.08)
