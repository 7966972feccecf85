"""A page that sets several evaluations side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdiff.common.errors import UsageError
from pdiff.common.wording import printable
from pdiff.report.figures import Plot
from pdiff.report.figures.comparison import Named, compared_plane, method
from pdiff.report.marks import shape_svg
from pdiff.report.page import environment
from pdiff.report.text import Scale

__all__ = ["comparison_figures", "named", "render_comparison"]


def named(paths: Sequence[Path], results: Sequence[Mapping[str, Any]]) -> Named:
    """Return evaluations with their names: the folder's own, the whole path where two would be the same.

    Raises `UsageError` if their metrics differ.
    """
    metrics = {tuple(each["task"]["metric"].values()) for each in results}
    if len(metrics) > 1:
        found = ", ".join(sorted({str(each["task"]["metric"]["name"]) for each in results}))
        raise UsageError(f"metrics differ ({found}); only evaluations by one metric can be compared")
    short = [printable(path.resolve().name) for path in paths]
    counts = Counter(short)
    names = [
        name if counts[name] == 1 else printable(str(path)) for name, path in zip(short, paths, strict=True)
    ]
    return list(zip(names, results, strict=True))


def comparison_figures(evaluations: Named) -> dict[str, Plot]:
    """Return the figures of the page by name."""
    plots = [compared_plane(evaluations, "max_similarity"), compared_plane(evaluations, "gg")]
    return {plot.name: plot for plot in plots}


def render_comparison(evaluations: Named) -> str:
    """Return the page as text; the same evaluations give the same text."""
    return (
        environment()
        .get_template("comparison.html")
        .render(
            evaluations=evaluations,
            scale=Scale.of(evaluations[0][1]),
            marks=[(colour, shape_svg(shape)) for colour, shape in map(method, range(len(evaluations)))],
            figures={name: plot.drawing() for name, plot in comparison_figures(evaluations).items()},
            differences=_differences(evaluations),
        )
    )


def _differences(evaluations: Named) -> list[str]:
    """Say in what the evaluations differ that makes them hard to compare."""
    kinds = {
        "tasks": [
            (each["task"]["name"], each["task"]["arch"], each["task"]["split"]) for _, each in evaluations
        ],
        "banks": [each["bank"]["digest"] for _, each in evaluations],
        "leagues": [each["league"] | {"asked": None} for _, each in evaluations],
        "seeds of the baselines": [each["provenance"]["seed"] for _, each in evaluations],
    }
    return [kind for kind, values in kinds.items() if any(value != values[0] for value in values)]
