"""Give each family its mark and its colour: one shape each, so that nothing hangs on colour alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

OURS = frozenset({"original", "generated", "ensemble"})
"""What is evaluated; the other families are baselines and controls."""

Shape = str | MarkerStyle

_MARKERS: Mapping[str, Shape] = {
    **{"original": "o", "generated": "o", "ensemble": "*", "noise": "^", "mean-noise": "v", "average": "s"},
    **{"interpolation": "P", "gaussian": "D", "pca-gaussian": "p", "tuned-mean": "X", "cyclic": "<"},
    **{"tuned-gaussian": ">", "swag": MarkerStyle((4, 1, 0))},  # a star of four points
}
_OTHER = "d"
_HOLLOW = {"original"}
_RADIUS = 4.6

COLOURED = (*_MARKERS, "control")
"""Names of the colours of families, as in the style sheet."""


def colour_name(family: str) -> str:
    """Return the name of a family's colour; controls, and what nobody knows, share one."""
    return family if family in _MARKERS else "control"


def marker(family: str, size: float, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return how matplotlib draws a family's points; originals are rings."""
    hollow, colour = family in _HOLLOW, colours[colour_name(family)]
    edge = {"markeredgecolor": colour, "markeredgewidth": max(0.6, size / 6) if hollow else 0}
    mark = {"linestyle": "none", "marker": _MARKERS.get(family, _OTHER), "markersize": size}
    return {**mark, "markerfacecolor": "none" if hollow else colour, **edge}


def mark_svg(family: str) -> str:
    """Return the path data of a family's mark, for a legend; see `shape_svg`."""
    return shape_svg(_MARKERS.get(family, _OTHER))


def shape_svg(shape: Shape) -> str:
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
