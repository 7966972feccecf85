"""The report of an evaluation: a self-contained page, and the table that the terminal shows too."""

from pdiff.report.making import make_report
from pdiff.report.page import save_report, write_report
from pdiff.report.reading import REPORT, RESULTS, read_results
from pdiff.report.summary import summary_rows

__all__ = [
    "REPORT",
    "RESULTS",
    "make_report",
    "read_results",
    "save_report",
    "summary_rows",
    "write_report",
]
