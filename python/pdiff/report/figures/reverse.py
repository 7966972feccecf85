"""Scores on the way from noise: the paper's figure 5b."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot
from pdiff.report.text import Scale

__all__ = ["reverse"]


def reverse(results: Mapping[str, Any]) -> Plot:
    """Draw the mean score of the models at each point of the reverse process, beside the originals' mean."""
    scale, data = Scale.of(results), results["plots"]["reverse"]
    pairs = zip(data["progress"], data["score"]["mean"], strict=True)
    steps = ", ".join(f"{scale.text(mean)} at {progress:.0%}" for progress, mean in pairs)
    alternative = f"Line: mean {scale.name} along the reverse process: {steps}."
    return Plot("reverse", alternative, partial(_draw, results), (WIDE, 3.4), (NARROW, 3.4))


def _draw(results: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    scale, data = Scale.of(results), results["plots"]["reverse"]
    axes = figure.subplots()
    mean, low, high = (
        np.array([np.nan if v is None else scale.drawn(v) for v in data["score"][key]])
        for key in ("mean", "min", "max")
    )
    colour, progress = colours["generated"], data["progress"]
    axes.fill_between(progress, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(progress, mean, color=colour, linewidth=1.6, marker="o", markersize=5)
    height = scale.drawn(results["original"]["mean"])
    axes.axhline(height, color=colours["original"], linewidth=1.4, linestyle=(0, (4, 2)))
    axes.set_title("dashed: the originals’ mean")
    if not scale.higher_is_better:
        axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share of the reverse process’s steps done (0% is noise)")
    axes.set_ylabel(scale.axis)
