"""The map: models on the first two principal components of the bank."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot
from pdiff.report.marks import marker

__all__ = ["projection"]


def projection(results: Mapping[str, Any]) -> Plot:
    """Draw `plots.map`, one mark a model, in the bank's normalised units."""
    alternative = (
        "Scatter plot of the weights of originals, generated models and baselines, projected on the first "
        "two principal components of the bank."
    )
    return Plot("map", alternative, partial(_draw, results["plots"]["map"]), (WIDE, 5.0), (NARROW, 4.6))


def _draw(data: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    axes = figure.subplots()
    order = sorted(data["populations"], key=lambda each: each["family"] == "generated")
    for each in order:
        x, y = np.array(each["xy"], dtype=np.float64).reshape(-1, 2).T
        alone = len(x) == 1
        mark = marker(each["family"], 13 if alone else 5, colours)
        axes.plot(x, y, alpha=1 if alone else 0.65, **mark)
    shares = [f"{100 * share:.0f}% of the bank’s variance" for share in data["explained"]]
    axes.set_xlabel(f"first component ({shares[0]})")
    axes.set_ylabel(f"second component ({shares[1]})")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.yaxis.set_major_locator(MaxNLocator(7))
