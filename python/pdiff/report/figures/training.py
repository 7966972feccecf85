"""The losses of the run that the models were drawn from."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot, is_wide

__all__ = ["training"]

_WIDE_RANGE = 20
"""From this ratio on, a loss is drawn on a logarithmic axis."""


def training(results: Mapping[str, Any]) -> Plot:
    """Draw the loss of each stage against the step, on a logarithmic axis where it falls by much."""
    stages = results["plots"]["training"]["stages"]
    ends = ", ".join(
        f"{name} {curve['loss'][0]:.3g} to {curve['loss'][-1]:.3g}" for name, curve in stages.items()
    )
    alternative = f"Training loss against the step, one panel a stage, from first to last: {ends}."
    return Plot("training", alternative, partial(_draw, stages), (WIDE, 2.9), (NARROW, 2.7 * len(stages)))


def _draw(stages: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    shape = (1, len(stages)) if is_wide(figure) else (len(stages), 1)
    panels = figure.subplots(*shape, squeeze=False).flat
    for axes, (name, curve) in zip(panels, stages.items(), strict=True):
        axes.plot(curve["step"], curve["loss"], color=colours["noise"], linewidth=1.4)
        if max(curve["loss"]) > _WIDE_RANGE * min(curve["loss"]) > 0:
            axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (mean squared error)")
        axes.xaxis.set_major_locator(MaxNLocator(6))
