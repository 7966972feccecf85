"""How the numbers of the tensors that vary most are spread."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator, ScalarFormatter

from pdiff.common.wording import shown
from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot, is_wide

__all__ = ["parameters"]

_ROW = 1.65
_LINES = {"original": "-", "generated": "-", "gaussian": (0, (3, 1.5))}


def parameters(results: Mapping[str, Any]) -> Plot:
    """Draw `plots.parameters`: one panel a tensor; originals filled, the others as lines."""
    tensors = results["plots"]["parameters"]
    alternative = (
        "Histograms of the values of each tensor, for originals, generated models and Gaussian draws: "
        + ", ".join(shown(tensor["name"], 60) for tensor in tensors)
        + "."
    )
    wide, narrow = (_ROW * math.ceil(len(tensors) / columns) for columns in (4, 2))
    return Plot("parameters", alternative, partial(_draw, tensors), (WIDE, wide), (NARROW, narrow))


def _draw(tensors: Sequence[Mapping[str, Any]], figure: Figure, colours: Colours) -> None:
    columns = 4 if is_wide(figure) else 2
    panels = list(figure.subplots(math.ceil(len(tensors) / columns), columns, squeeze=False).flat)
    for axes, tensor in zip(panels, tensors, strict=False):
        _draw_tensor(axes, tensor, colours)
    for axes in panels[len(tensors) :]:
        axes.set_visible(False)
    for label, text in ((figure.supxlabel, "value"), (figure.supylabel, "share of the values")):
        label(text, fontsize="medium", color=colours["muted"])


def _draw_tensor(axes: Axes, tensor: Mapping[str, Any], colours: Colours) -> None:
    for family, shares in tensor["shares"].items():
        first, last = tensor["edges"]
        edges = np.linspace(first, last, len(shares) + 1)
        colour = colours[family]
        if family == "original":
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(shares, edges, color=colour, linewidth=1.3, linestyle=_LINES[family])
    name = f"{shown(tensor['name'], 26)} {'×'.join(map(str, tensor['shape']))}"
    axes.set_title(name, fontsize="small")
    axes.set_ylim(bottom=0)
    _tick(axes.xaxis, _short_numbers())
    _tick(axes.yaxis, FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))


def _tick(axis: Axis, formatter: Formatter) -> None:
    """Give an axis three ticks or four."""
    axis.set_major_locator(MaxNLocator(3, min_n_ticks=3))
    axis.set_major_formatter(formatter)
    axis.set_tick_params(labelsize="small", pad=5)
    axis.get_offset_text().set_fontsize("small")


def _short_numbers() -> ScalarFormatter:
    """Write numbers of a few characters; a power of ten, and what they have in common, beside the axis."""
    with mpl.rc_context({"axes.formatter.offset_threshold": 2}):
        formatter = ScalarFormatter()
    formatter.set_powerlimits((-2, 4))
    return formatter
