"""Several evaluations in one plane: where each method is, and the frontiers that they had to beat."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdiff.report.figures.planes import AXES, SIDES, Plane, frontier_line
from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot
from pdiff.report.marks import marker
from pdiff.report.text import Scale

__all__ = ["METHODS", "compared_plane", "method"]

METHODS = (
    *(("generated", "o"), ("noise", "^"), ("average", "s"), ("gaussian", "D"), ("interpolation", "P")),
    *(("pca-gaussian", "p"), ("cyclic", "v"), ("tuned-mean", "X")),
)
"""Colour and mark of each method; a ninth looks like the first, and the table tells them apart."""

Named = Sequence[tuple[str, Mapping[str, Any]]]


def method(place: int) -> tuple[str, str]:
    """Return the colour's name and the mark of the method at `place`."""
    return METHODS[place % len(METHODS)]


def compared_plane(evaluations: Named, which: Plane) -> Plot:
    """Draw the means of all methods with the intervals of their margins, and each one's frontier."""
    scale = Scale.of(evaluations[0][1])
    means = "; ".join(_in_words(name, results, which, scale) for name, results in evaluations)
    alternative = f"Scatter plot: mean {scale.name} of each method against {AXES[which]}. {means}."
    draw = partial(_draw, evaluations, which)
    return Plot(f"compared-{which.replace('_', '-')}", alternative, draw, (WIDE, 5.2), (NARROW, 4.8))


def _in_words(name: str, results: Mapping[str, Any], which: str, scale: Scale) -> str:
    """Say where one method is."""
    stand = results["verdict"][f"at_{which}"]
    if stand is None:
        return f"{name}: not defined"
    return f"{name}: {scale.text(stand['score'])} at {stand['at']:.3f}"


def _draw(evaluations: Named, which: Plane, figure: Figure, colours: Colours) -> None:
    """Draw the methods, which decide the limits, and then what they are compared with."""
    axes, scale = figure.subplots(), Scale.of(evaluations[0][1])
    seen: list[tuple[float, float]] = []
    for place, (_, results) in enumerate(evaluations):
        seen += _draw_method(axes, method(place), results["verdict"][f"at_{which}"], scale, colours)
    _limit(axes, seen, scale)
    muted = dict.fromkeys(colours, colours["muted"])
    for place, (_, results) in enumerate(evaluations):
        for each in results["baselines"]:
            if each[which] is not None:
                mark = marker(each["family"], 4.5, muted)
                axes.plot([each[which]], [scale.drawn(each["score"]["mean"])], alpha=0.6, zorder=2, **mark)
        frontier_line(axes, results, which, colours, method(place)[0])
    axes.set_xlabel(f"{AXES[which]}\n{SIDES[which]}")
    axes.set_ylabel(scale.axis)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.yaxis.set_major_locator(MaxNLocator(7))


def _draw_method(
    axes: Axes, mark: tuple[str, str], stand: Mapping[str, Any] | None, scale: Scale, colours: Colours
) -> list[tuple[float, float]]:
    """Draw one method's mean and the interval of its margin; return the points to be in view."""
    if stand is None:
        return []
    colour, x = colours[mark[0]], stand["at"]
    sign = 1 if scale.higher_is_better else -1  # margins are positive where the method is better
    ends = [scale.drawn(stand["frontier"] + sign * end) for end in stand["interval"]]
    score = scale.drawn(stand["score"])
    axes.plot([x, x], ends, color=colour, linewidth=5, alpha=0.35, zorder=3, solid_capstyle="butt")
    axes.plot(
        [x], [score], marker=mark[1], markersize=10, color=colour, markeredgecolor=colours["paper"], zorder=4
    )
    return [(x, height) for height in (*ends, score, scale.drawn(stand["frontier"]))]


def _limit(axes: Axes, seen: Sequence[tuple[float, float]], scale: Scale) -> None:
    """Set limits that hold the methods, with room to see the frontiers around them."""
    if not seen:
        return
    x, y = zip(*seen, strict=True)
    (left, right), (bottom, top) = (_with_room(x, 0.05), _with_room(y, 0.002 * abs(max(y))))
    axes.set(xlim=(left, right), ylim=(bottom, top) if scale.higher_is_better else (top, bottom))


def _with_room(values: Sequence[float], least: float) -> tuple[float, float]:
    room = max(0.25 * (max(values) - min(values)), least)
    return min(values) - room, max(values) + room
