"""How alike models err, every pair, as a heat map."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pdiff.report.figures.plot import Colours, Plot

__all__ = ["similarity"]

_MAP = "cividis"
"""Made for eyes that tell no red from green, and its lightness rises evenly."""


def similarity(results: Mapping[str, Any]) -> Plot:
    """Draw the similarities of `plots.similarity`: originals first, then the generated models."""
    alternative = (
        "Heat map of the similarity (IoU of wrong predictions) of every pair of models, originals first, "
        "then generated ones; the means of its blocks are OO, OG and GG among the novelty measures."
    )
    return Plot("similarity", alternative, partial(_draw, results["plots"]["similarity"]), (4.8, 4.2))


def _draw(data: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    levels = np.array([list(bytes.fromhex(row)) for row in data["rows"]]) / 255
    count, border = len(levels), len(data["original"])
    axes = figure.subplots()
    others = levels[~np.eye(count, dtype=bool)] if count > 1 else levels  # a model is like itself
    low, high = float(np.floor(20 * others.min()) / 20), float(np.ceil(20 * others.max()) / 20)
    picture = axes.imshow(levels, cmap=_MAP, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    for draw in (axes.axhline, axes.axvline):
        draw(border - 0.5, color="white", linewidth=1.2)
    places = [(border - 1) / 2, border + (count - border - 1) / 2]
    names = [f"{border} originals", f"{count - border} generated"]
    axes.set_xticks(places, names)
    axes.set_yticks(places, names, rotation=90, va="center")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, aspect=24)
    bar.set_label("similarity (IoU)", color=colours["muted"])
    bar.outline.set_visible(False)
