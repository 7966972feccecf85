"""`pdiff report`: write the page of evaluations, and figures as files."""

from pathlib import Path

import click

from pdiff.cli import options

_PATH, _FOLDER = click.Path(path_type=Path), click.Path(path_type=Path, file_okay=False)


@click.command("report")
@click.argument("evaluations", metavar="EVALUATION…", nargs=-1, required=True, type=_PATH)
@click.option(
    "--out",
    metavar="FILE.html|DIR",
    type=_PATH,
    default="report.html",
    show_default=True,
    help="Page to write, or a folder to write report.html to.",
)
@click.option("--png", type=_FOLDER, help="Folder for the figures, as PNG.")
@click.option("--pdf", type=_FOLDER, help="Folder for the figures, as PDF.")
@options.output
def command(evaluations: tuple[Path, ...], overwrite: bool, as_json: bool, **given: Path) -> None:
    """Write the page of one EVALUATION again, or one page that compares several.

    An EVALUATION is what `pdiff evaluate` wrote, of which only results.json is read.
    """
    from pdiff.cli.console import Console
    from pdiff.report import make_report

    console = Console(as_json)
    written = make_report(evaluations, overwrite=overwrite, **given)
    figures = f" and {len(written) - 1} figures" if len(written) > 1 else ""
    console.say(f"Report: {written[0]}{figures}")
    console.result({"report": str(written[0]), "figures": [str(path) for path in written[1:]]})
