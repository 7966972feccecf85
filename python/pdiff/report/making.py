"""Pages and figures from evaluations on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pdiff import _core
from pdiff.common.errors import UsageError
from pdiff.report.comparison import comparison_figures, named, render_comparison
from pdiff.report.figures import figures
from pdiff.report.page import render_report
from pdiff.report.reading import REPORT, read_results

__all__ = ["make_report"]


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
    kinds: list[tuple[Literal["png", "pdf"], Path]] = []
    if png is not None:
        kinds.append(("png", Path(png)))
    if pdf is not None:
        kinds.append(("pdf", Path(pdf)))
    files = [folder / f"{name}.{kind}" for kind, folder in kinds for name in plots]
    file = _page(Path(out))
    for path in (file, *files):
        if path.is_dir() or (path.exists() and not overwrite):
            raise UsageError(f"{path}: is there already; replace it with --overwrite or name another")
    file.parent.mkdir(parents=True, exist_ok=True)
    _core.write_file(file, page.encode())
    for kind, folder in kinds:
        folder.mkdir(parents=True, exist_ok=True)
        for plot in plots.values():
            plot.save(folder, kind)
    return [file, *files]


def _page(out: Path) -> Path:
    """Return the file to write: `out` itself, or the page in a folder of that name."""
    is_file = out.is_file() or (out.suffix.lower() == ".html" and not out.is_dir())
    return out if is_file else out / REPORT
