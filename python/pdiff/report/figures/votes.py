"""What soft votes of several models are worth."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot, is_wide
from pdiff.report.marks import colour_name, marker
from pdiff.report.text import Scale

__all__ = ["votes"]


def votes(results: Mapping[str, Any]) -> Plot:
    """Draw score, negative log-likelihood and calibration error against the number of models that vote."""
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
            there = [(size, v) for size, v in zip(data["sizes"], values[key], strict=True) if v is not None]
            y = [scale.drawn(v) if key == "score" else v for _, v in there]
            line = marker(family, 5.5, colours) | {"linestyle": "-", "linewidth": 1.3}
            axes.plot([size for size, _ in there], y, color=colours[colour_name(family)], **line)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xticks(data["sizes"])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("models that vote")
