"""The figures of a page, each in a file of its own."""

from collections.abc import Mapping
from typing import Any

from pdiff.report.figures.clouds import hidden, worst_drawn
from pdiff.report.figures.margins import margins
from pdiff.report.figures.parameters import parameters
from pdiff.report.figures.planes import plane
from pdiff.report.figures.plot import Drawing, Plot
from pdiff.report.figures.projection import projection
from pdiff.report.figures.reverse import reverse
from pdiff.report.figures.similarity import similarity
from pdiff.report.figures.strips import strips
from pdiff.report.figures.training import training
from pdiff.report.figures.votes import votes

__all__ = ["Drawing", "Plot", "figures", "hidden", "worst_drawn"]


def figures(results: Mapping[str, Any]) -> dict[str, Plot]:
    """Return the figures of an evaluation by name, in the order of the page; without data there is none."""
    plots = results["plots"]
    found = [margins(results), plane(results, "max_similarity")]
    if any(point["gg"] is not None for point in results["points"]):
        found.append(plane(results, "gg"))
    found += [strips(results), similarity(results)]
    if "reason" not in plots["map"]:
        found.append(projection(results))
    if plots["parameters"]:
        found.append(parameters(results))
    if "reason" not in plots["reverse"]:
        found.append(reverse(results))
    if results["votes"] is not None:
        found.append(votes(results))
    if "reason" not in plots["training"]:
        found.append(training(results))
    return {plot.name: plot for plot in found}
