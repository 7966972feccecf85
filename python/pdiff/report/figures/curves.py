"""Draw curves: training losses, scores on the way from noise, and what votes of several models are worth."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, ScalarFormatter

from pdiff.evaluation.schema import Curve, Results, ReverseData, Scale, TrainingData, Votes
from pdiff.report.marks import colour_name, marker
from pdiff.report.plot import NARROW, WIDE, Colours, Plot, is_wide

_WIDE_RANGE = 20
"""From this ratio on, a loss is drawn on a logarithmic axis."""


def training(data: TrainingData) -> Plot:
    """Draw the loss of each stage against the step, on a logarithmic axis where it falls by much."""
    ends = ", ".join(
        f"{name} {curve.loss[0]:.3g} to {curve.loss[-1]:.3g}" for name, curve in data.stages.items()
    )
    alternative = f"Training loss against the step, one panel a stage, from first to last: {ends}."
    draw = partial(_draw_training, data.stages)
    return Plot("training", alternative, draw, (WIDE, 2.9), (NARROW, 2.7 * len(data.stages)))


def _draw_training(stages: Mapping[str, Curve], figure: Figure, colours: Colours) -> None:
    shape = (1, len(stages)) if is_wide(figure) else (len(stages), 1)
    panels = figure.subplots(*shape, squeeze=False).flat
    for axes, (name, curve) in zip(panels, stages.items(), strict=True):
        axes.plot(curve.step, curve.loss, color=colours["noise"], linewidth=1.4)
        if max(curve.loss) > _WIDE_RANGE * min(curve.loss) > 0:
            axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (mean squared error)")
        axes.xaxis.set_major_locator(MaxNLocator(6))


def reverse(results: Results, data: ReverseData) -> Plot:
    """Draw the mean score at each point of the reverse process, and the originals' (the paper's fig. 5b)."""
    scale = results.task.metric
    pairs = zip(data.progress, data.score["mean"], strict=True)
    steps = ", ".join(f"{scale.text(mean)} at {progress:.0%}" for progress, mean in pairs)
    alternative = f"Line: mean {scale.name} along the reverse process: {steps}."
    draw = partial(_draw_reverse, data, scale, scale.drawn(results.original.score.mean))
    return Plot("reverse", alternative, draw, (WIDE, 3.4), (NARROW, 3.4))


def _draw_reverse(data: ReverseData, scale: Scale, height: float, figure: Figure, colours: Colours) -> None:
    axes = figure.subplots()
    mean, low, high = (  # None is NaN
        scale.drawn(1) * np.array(data.score[key], dtype=np.float64) for key in ("mean", "min", "max")
    )
    colour, progress = colours["generated"], data.progress
    axes.fill_between(progress, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(progress, mean, color=colour, linewidth=1.6, marker="o", markersize=5)
    axes.axhline(height, color=colours["original"], linewidth=1.4, linestyle=(0, (4, 2)))
    axes.set_title("dashed: the originals’ mean")
    if not scale.higher_is_better:
        axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share of the reverse process’s steps done (0% is noise)")
    axes.set_ylabel(scale.axis)


def votes(results: Results, data: Votes) -> Plot:
    """Draw score, negative log-likelihood and calibration error against the number of models that vote.

    The band is a standard deviation over draws of the models to either side of the mean.
    """
    scale = results.task.metric
    alternative = (
        f"Three line charts against the number of models that vote: {scale.name}, negative "
        "log-likelihood and expected calibration error; the same figures are in the table of votes."
    )
    return Plot("votes", alternative, partial(_draw_votes, data, scale), (WIDE, 3.2), (NARROW, 7.4))


def _draw_votes(data: Votes, scale: Scale, figure: Figure, colours: Colours) -> None:
    panels = figure.subplots(*((1, 3) if is_wide(figure) else (3, 1)))
    titles = {"score": scale.axis, "nll": "NLL (nats), lower is better", "ece": "ECE, lower is better"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for family, figures in data.families.items():
            unit = scale.drawn(1) if key == "score" else 1
            y = unit * np.array(getattr(figures, key), dtype=np.float64)  # None is NaN
            spread = unit * np.array([std or 0 for std in getattr(figures.std, key)])
            colour, line = colours[colour_name(family)], {"linestyle": "-", "linewidth": 1.3}
            axes.fill_between(data.sizes, y - spread, y + spread, color=colour, alpha=0.15, linewidth=0)
            axes.plot(data.sizes, y, color=colour, **marker(family, 5.5, colours) | line)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xticks(data.sizes)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("models that vote")
