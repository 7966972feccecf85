"""Collect the figures of a page."""

from pdiff.evaluation.schema import Results
from pdiff.report.figures.curves import reverse, training, votes
from pdiff.report.figures.distributions import hidden, parameters, strips, worst_drawn
from pdiff.report.figures.maps import projection, similarity
from pdiff.report.figures.planes import margins, plane
from pdiff.report.plot import Plot

__all__ = ["figures", "hidden", "worst_drawn"]


def figures(results: Results) -> dict[str, Plot]:
    """Return the figures of an evaluation by name, in the order of the page; without data there is none."""
    plots, judged = results.plots, results.verdict.position is not None
    found = [
        margins(results) if judged else None,
        plane(results, "max_similarity") if judged else None,
        plane(results, "gg") if judged and any(point.gg is not None for point in results.points) else None,
        strips(results),
        similarity(results),
        None if plots.map is None else projection(plots.map),
        parameters(results) if plots.parameters else None,
        None if plots.reverse is None else reverse(results, plots.reverse),
        None if results.votes is None else votes(results, results.votes),
        None if plots.training is None else training(plots.training),
    ]
    return {plot.name: plot for plot in found if plot is not None}
