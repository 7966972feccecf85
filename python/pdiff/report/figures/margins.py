"""The verdict as a picture: how far above or below the frontier, with its interval, in both planes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot
from pdiff.report.marks import marker
from pdiff.report.text import Scale

__all__ = ["margins"]

_PLANES = (("at_max_similarity", "at equal\nmax-similarity"), ("at_gg", "at equal GG"))


def margins(results: Mapping[str, Any]) -> Plot:
    """Draw each plane's margin over the frontier as a point with its interval."""
    alternative = f"Verdict: {results['verdict']['position']} the frontier. " + " ".join(_in_words(results))
    return Plot("verdict", alternative, partial(_draw, results), (WIDE, 1.75), (NARROW, 2.0))


def _in_words(results: Mapping[str, Any]) -> list[str]:
    """Say the margins."""
    scale, level = Scale.of(results), results["verdict"]["bootstrap"]["level"]
    words = []
    for key, name in _PLANES:
        stand, plane = results["verdict"][key], name.replace("\n", " ")
        if stand is None:
            words.append(f"Not defined {plane}.")
            continue
        low, high = (scale.difference(end) for end in stand["interval"])
        margin = f"{scale.difference(stand['margin'])} {scale.points}"
        words.append(f"{margin} {plane}, {level:.0%} interval {low} to {high}.")
    return words


def _draw(results: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    """Draw one row a plane; the frontier is the line at 0, better lies to the right."""
    axes, scale = figure.subplots(), Scale.of(results)
    stands = [results["verdict"][key] for key, _ in _PLANES]
    reach = max((_draw_row(axes, row, stand, scale, colours) for row, stand in enumerate(stands)), default=0)
    reach = 1.25 * reach or 1.0
    axes.set(xlim=(-reach, reach), ylim=(len(_PLANES) - 0.4, -0.75))
    axes.axvspan(0, reach, color=colours["good"], alpha=0.08, linewidth=0)
    axes.axvspan(-reach, 0, color=colours["bad"], alpha=0.08, linewidth=0)
    axes.axvline(0, color=colours["ink"], linewidth=1.3, linestyle=(0, (4, 2)))
    for x, text, side in ((0.995, "above →", "right"), (0.005, "← below", "left")):
        axes.text(x, 0.97, text, transform=axes.transAxes, ha=side, va="top", color=colours["muted"])
    axes.set_yticks(range(len(_PLANES)), [name for _, name in _PLANES])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7, symmetric=True))
    axes.set_xlabel(f"{scale.points} better than the frontier")


def _draw_row(axes: Axes, row: int, stand: Mapping[str, Any] | None, scale: Scale, colours: Colours) -> float:
    """Draw one plane's point and interval; return how far they reach from the frontier."""
    if stand is None:
        axes.text(0, row, "  not defined", va="center", color=colours["muted"])
        return 0.0
    low, high = (scale.drawn(end) for end in stand["interval"])
    margin = scale.drawn(stand["margin"])
    colour = colours["generated"]
    axes.plot([low, high], [row, row], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
    axes.plot([margin], [row], **marker("generated", 9, colours))
    text, behind = (
        scale.difference(stand["margin"]),
        {"facecolor": colours["paper"], "linewidth": 0, "pad": 1},
    )
    axes.annotate(text, (margin, row), (0, 9), textcoords="offset points", ha="center", bbox=behind)
    return max(map(abs, (low, high, margin)))
