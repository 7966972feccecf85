"""The mark and the colour of each family: one shape each, so that nothing hangs on colour alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

__all__ = ["OURS", "colour_name", "mark_svg", "marker", "shape_svg"]

OURS = frozenset({"original", "generated", "ensemble"})
"""What is evaluated; the other families are rivals and controls."""

_MARKERS = {
    "original": "o",
    "generated": "o",
    "ensemble": "*",
    "noise": "^",
    "mean-noise": "v",
    "average": "s",
    "interpolation": "P",
    "gaussian": "D",
    "pca-gaussian": "p",
    "tuned-mean": "X",
    "cyclic": "<",
    "tuned-gaussian": ">",
}
_HOLLOW = {"original"}
_RADIUS = 4.6


def colour_name(family: str) -> str:
    """Return the name of a family's colour; controls, and what nobody knows, share one."""
    return family if family in _MARKERS else "control"


def marker(family: str, size: float, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return how matplotlib draws a family's points; originals are rings."""
    hollow, colour = family in _HOLLOW, colours[colour_name(family)]
    return {
        "linestyle": "none",
        "marker": _MARKERS.get(family, "d"),
        "markersize": size,
        "markerfacecolor": "none" if hollow else colour,
        "markeredgecolor": colour,
        "markeredgewidth": max(0.6, size / 6) if hollow else 0,
    }


def mark_svg(family: str) -> str:
    """Return the path data of a family's mark, for a legend; see `shape_svg`."""
    return shape_svg(_MARKERS.get(family, "d"))


def shape_svg(shape: str) -> str:
    """Return the path data of one of matplotlib's marks, centred in a box from −6 to 6."""
    style = MarkerStyle(shape)
    path = style.get_path().transformed(style.get_transform())
    size = float(np.abs(path.vertices).max())
    names = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
    parts = []
    for points, code in path.iter_segments():
        places = (_RADIUS / size * points.reshape(-1, 2) * (1, -1)).flatten()  # SVG counts downwards
        numbers = [f"{place:.2f}" for place in places]
        parts.append(names[code] + ("" if code == Path.CLOSEPOLY else " ".join(numbers)))
    return "".join(parts)
