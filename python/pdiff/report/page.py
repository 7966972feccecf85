"""The report: one HTML page that carries its own style and figures and asks the network for nothing."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pdiff import _core
from pdiff.artifacts import write_json
from pdiff.directories import staged_directory
from pdiff.report.figures import scatter, strips
from pdiff.report.measures import measures
from pdiff.report.summary import COLUMNS, SummaryRow, summary
from pdiff.report.text import duration, number, percent

__all__ = ["REPORT", "RESULTS", "render_report", "save_report", "write_report"]

RESULTS = "results.json"
REPORT = "report.html"


def save_report(
    results: Mapping[str, Any], out: str | Path = "evaluation", *, overwrite: bool = False
) -> None:
    """Write `results.json` and `report.html` to the directory `out`, both or neither.

    Raises `UsageError` if `out` is not empty, unless `overwrite` is set and it holds an evaluation.
    """
    with staged_directory(Path(out), RESULTS, overwrite) as staged:
        write_json(staged / RESULTS, results)
        write_report(results, staged / REPORT)


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the page of an evaluation to `path`, durably; the same `results` give the same bytes."""
    _core.write_file(path, render_report(results).encode())


def render_report(results: Mapping[str, Any]) -> str:
    """Return the page as text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "percent": percent, "duration": duration}
    folder = files("pdiff.report")
    template = environment.from_string(folder.joinpath("template.html").read_text("utf-8"))
    rows = summary(results)
    return template.render(
        results=results,
        columns=COLUMNS,
        rows=rows,
        legend=_legend(rows),
        measures=measures(results),
        scatter=scatter(results),
        strips=strips(results),
        style=folder.joinpath("style.css").read_text("utf-8"),
    )


def _legend(rows: Sequence[SummaryRow]) -> dict[str, str]:
    """Return what each family's mark stands for; the strengths of one family share a mark."""
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.family, []).append(row.name)
    return {
        family: each[0] if len(each) == 1 else f"{family}, {len(each)} scales"
        for family, each in names.items()
    }
