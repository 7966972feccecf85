"""The report: one HTML page that carries its own style and figures and asks the network for nothing."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pdiff import _core
from pdiff.common.artifacts import write_json
from pdiff.common.directories import staged_directory
from pdiff.evaluation import label
from pdiff.evaluation.ensembles import DRAWS, POOL
from pdiff.report.figures import figures, hidden, worst_drawn
from pdiff.report.marks import colour_name, mark_svg
from pdiff.report.measures import measures
from pdiff.report.reading import REPORT, RESULTS
from pdiff.report.summary import COLUMNS, SummaryRow, summary
from pdiff.report.svg import stylesheet
from pdiff.report.text import Scale, duration, heading, number

__all__ = ["environment", "legend", "render_report", "save_report", "write_report"]


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
    rows, scale = summary(results), Scale.of(results)
    return (
        environment()
        .get_template("report.html")
        .render(
            results=results,
            scale=scale,
            columns=COLUMNS,
            rows=rows,
            legend=legend(rows),
            measures=measures(results),
            figures={name: plot.drawing() for name, plot in figures(results).items()},
            hidden=hidden(results),
            worst=scale.text(worst_drawn(results)),
        )
    )


@cache
def environment() -> Environment:
    """Return what renders the templates: everything is escaped, nothing may be missing."""
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("pdiff.report", "templates"),
    )
    made.filters |= {
        "number": number,
        "duration": duration,
        "heading": heading,
        "colour": colour_name,
        "mark": mark_svg,
    }
    made.globals |= {"label": label, "style": stylesheet, "DRAWS": DRAWS, "POOL": POOL}
    return made


def legend(rows: Sequence[SummaryRow]) -> dict[str, str]:
    """Return what each family's mark stands for; the strengths of one family share a mark."""
    swept: dict[str, list[SummaryRow]] = {}
    for row in rows:
        swept.setdefault(row.family, []).append(row)
    return {
        family: each[0].name if len(each) == 1 else f"{each[0].name}–{each[-1].strength:g}"
        for family, each in swept.items()
    }
