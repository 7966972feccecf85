"""Write pages: an evaluation's, or one that compares several, each with its own style and figures.

A page is one HTML file that asks the network for nothing.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pdiff import _core
from pdiff.common.artifacts import write_json
from pdiff.common.directories import staged_directory
from pdiff.common.errors import UsageError
from pdiff.evaluation.schema import RESULTS, Results, Votes, read_results
from pdiff.report.comparison import Named, comparison_figures, differences, method, named
from pdiff.report.figures import figures, hidden, worst_drawn
from pdiff.report.marks import colour_name, mark_svg, shape_svg
from pdiff.report.plot import Kind, Plot, stylesheet
from pdiff.report.tables import Row, called, columns, measures, number, scores_csv, summary

REPORT = "report.html"
SCORES = "scores.csv"


def save_report(results: Results, out: str | Path = "evaluation", *, overwrite: bool = False) -> None:
    """Write `results.json`, `scores.csv` and `report.html` to the directory `out`, all or none.

    Raises `UsageError` if `out` is not empty, unless `overwrite` is set and it holds an evaluation.
    """
    with staged_directory(Path(out), RESULTS, overwrite) as staged:
        write_json(staged / RESULTS, results)
        _core.write_file(staged / SCORES, scores_csv(results).encode())
        write_report(results, staged / REPORT)


def write_report(results: Results, path: Path) -> None:
    """Write the page of an evaluation to `path`, durably; the same `results` give the same bytes."""
    _core.write_file(path, render_report(results).encode())


def make_report(
    evaluations: Sequence[str | Path],
    *,
    out: str | Path = REPORT,
    png: str | Path | None = None,
    pdf: str | Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write the page of one evaluation again, or one that compares several, to `out`.

    That is the page if its name ends in .html or if it is a file, else the folder that gets `report.html`.
    Everything comes from the `results.json` of each; `png` and `pdf` are folders that get the figures as
    files too. Returns what was written, the page first. Raises `UsageError` if a file is there already,
    unless `overwrite` is set, and if metrics differ.
    """
    paths = [Path(each) for each in evaluations]
    if not paths:
        raise UsageError("no evaluation named; give one to see it, several to compare them")
    results = [read_results(path) for path in paths]
    if len(results) == 1:
        page, plots = render_report(results[0]), figures(results[0])
    else:
        compared = named(paths, results)
        page, plots = render_comparison(compared), comparison_figures(compared)
    asked: tuple[tuple[Kind, str | Path | None], ...] = (("png", png), ("pdf", pdf))
    kinds = [(kind, Path(folder)) for kind, folder in asked if folder is not None]
    files = [folder / f"{name}.{kind}" for kind, folder in kinds for name in plots]
    file = _page(Path(out))
    for path in (file, *files):
        if path.is_dir() or (path.exists() and not overwrite):
            raise UsageError(f"{path}: is there already; replace it with --overwrite or name another")
    for folder in (file.parent, *(folder for _, folder in kinds)):
        folder.mkdir(parents=True, exist_ok=True)
    _core.write_file(file, page.encode())
    return [file, *(plot.save(folder, kind) for kind, folder in kinds for plot in plots.values())]


def _page(out: Path) -> Path:
    """Return the file to write: `out` itself, or the page in a folder of that name."""
    is_file = out.is_file() or (out.suffix.lower() == ".html" and not out.is_dir())
    return out if is_file else out / REPORT


def render_report(results: Results) -> str:
    """Return the page of an evaluation as text."""
    rows, scale = summary(results), results.task.metric
    return _render(
        "report.html",
        figures(results),
        results=results,
        scale=scale,
        columns=columns(results),
        rows=rows,
        legend=_legend(rows),
        measures=measures(results),
        hidden=hidden(results),
        worst=scale.text(worst_drawn(results)),
        draws=_draws(results.votes),
    )


def render_comparison(evaluations: Named) -> str:
    """Return the page that compares evaluations as text; the same evaluations give the same text."""
    return _render(
        "comparison.html",
        comparison_figures(evaluations),
        evaluations=evaluations,
        scale=evaluations[0][1].task.metric,
        marks=[(colour, shape_svg(shape)) for colour, shape in map(method, range(len(evaluations)))],
        differences=differences(evaluations),
    )


def _render(template: str, plots: Mapping[str, Plot], **values: Any) -> str:
    drawn = {name: plot.drawing() for name, plot in plots.items()}
    return _environment().get_template(template).render(figures=drawn, **values)


@cache
def _environment() -> Environment:
    """Return what renders the templates: everything is escaped, nothing may be missing."""
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("pdiff.report", "templates"),
    )
    made.filters |= {"number": number, "duration": duration, "heading": heading, "colour": colour_name}
    made.filters |= {"mark": mark_svg, "known": lambda value: "unknown" if value is None else value}
    made.globals |= {"called": called, "style": stylesheet}
    return made


def _legend(rows: Sequence[Row]) -> dict[str, str]:
    """Return what each family's mark stands for; the strengths of one family share a mark."""
    swept: dict[str, list[Row]] = {}
    for row in rows:
        swept.setdefault(row.entry.family, []).append(row)
    return {
        family: each[0].cells[0] if len(each) == 1 else f"{each[0].cells[0]}–{each[-1].entry.strength:g}"
        for family, each in swept.items()
    }


def _draws(votes: Votes | None) -> int:
    """Return how many sets of several models were drawn; of one model each is a set."""
    if votes is None:
        return 0
    pairs = [zip(votes.sizes, family.draws, strict=True) for family in votes.families.values()]
    return max((count for each in pairs for size, count in each if size > 1), default=0)


def heading(text: str) -> str:
    """Begin with a capital letter, but leave names that have capitals of their own: RMSE, mIoU."""
    first, _, rest = text.partition(" ")
    return " ".join(filter(None, [first.capitalize() if first.islower() else first, rest]))


def duration(seconds: float | None) -> str:
    """Format a time with its unit: `14 ms`, `3.2 s`, `5 min 7 s`, `2 h 3 min`; a dash if it is not known."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
