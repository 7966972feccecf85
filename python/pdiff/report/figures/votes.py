"""What soft votes of several models are worth."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot, is_wide
from pdiff.report.marks import colour_name, marker
from pdiff.report.text import Scale

__all__ = ["votes"]


def votes(results: Mapping[str, Any]) -> Plot:
    """Draw score, negative log-likelihood and calibration error against the number of models that vote.

    The band is a standard deviation over draws of the models to either side of the mean.
    """
    alternative = (
        f"Three line charts against the number of models that vote: {Scale.of(results).name}, negative "
        "log-likelihood and expected calibration error; the same figures are in the table of votes."
    )
    return Plot("votes", alternative, partial(_draw, results), (WIDE, 3.2), (NARROW, 7.4))


def _draw(results: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    scale, data = Scale.of(results), results["votes"]
    panels = figure.subplots(*((1, 3) if is_wide(figure) else (3, 1)))
    titles = {"score": scale.axis, "nll": "NLL (nats), lower is better", "ece": "ECE, lower is better"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for family, values in data["families"].items():
            unit = scale.drawn(1) if key == "score" else 1
            sizes, y = data["sizes"], unit * np.array(values[key], dtype=np.float64)  # None is NaN
            spread = unit * np.array([std or 0 for std in values["std"][key]])
            colour, line = colours[colour_name(family)], {"linestyle": "-", "linewidth": 1.3}
            axes.fill_between(sizes, y - spread, y + spread, color=colour, alpha=0.15, linewidth=0)
            axes.plot(sizes, y, color=colour, **marker(family, 5.5, colours) | line)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xticks(data["sizes"])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("models that vote")
