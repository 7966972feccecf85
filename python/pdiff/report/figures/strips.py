"""How the scores of each family are spread."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdiff.evaluation import label
from pdiff.report.figures.clouds import Cloud, clouds, score_axis, worst_drawn
from pdiff.report.figures.plot import NARROW, WIDE, Colours, Plot
from pdiff.report.marks import marker
from pdiff.report.text import Scale

__all__ = ["strips"]

_GOLDEN = (5**0.5 - 1) / 2


def strips(results: Mapping[str, Any]) -> Plot:
    """Draw each family's scores as a strip of points with a bar at the mean."""
    name = Scale.of(results).name
    alternative = f"Strip plot: {name} of each family's models, one point a model, with a bar at the mean."
    height = 0.6 + 0.3 * len(_in_view(results))
    return Plot("strips", alternative, partial(_draw, results), (WIDE, height), (NARROW, height))


def _draw(results: Mapping[str, Any], figure: Figure, colours: Colours) -> None:
    """Draw one row a family, the first on top."""
    scale, found = Scale.of(results), _in_view(results)
    axes = figure.subplots()
    worst = scale.drawn(worst_drawn(results))
    for row, cloud in enumerate(found):
        shown = cloud.score[~_worse(cloud.score, worst, scale)]
        if len(cloud.score) == 1:
            axes.plot(shown, [row] * len(shown), **marker(cloud.family, 10, colours))
            continue
        jitter = np.arange(1, len(shown) + 1) * _GOLDEN % 1 - 0.5  # spread evenly, the same every time
        axes.plot(shown, row + 0.56 * jitter, alpha=0.5, **marker(cloud.family, 3.2, colours))
        mean = cloud.score.mean()
        if not _worse(mean, worst, scale):
            axes.plot([mean, mean], [row - 0.4, row + 0.4], color=colours["ink"], linewidth=1.6)
    score_axis(axes, "x", found, worst, scale)
    axes.set_ylim(len(found) - 0.45, -0.55)
    axes.set_yticks(range(len(found)), [label(cloud.family, cloud.strength) for cloud in found])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(scale.axis)


def _in_view(results: Mapping[str, Any]) -> list[Cloud]:
    """Return the families that have a model that is not worse than what is drawn."""
    scale, worst = Scale.of(results), worst_drawn(results)
    return [cloud for cloud in clouds(results) if not _worse(cloud.score, scale.drawn(worst), scale).all()]


def _worse(score: Any, limit: float, scale: Scale) -> Any:
    """Return whether scores are worse than `limit`."""
    return score < limit if scale.higher_is_better else score > limit
