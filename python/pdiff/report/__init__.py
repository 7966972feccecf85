"""Report an evaluation: a self-contained page, a line a model as CSV, and the table of the terminal."""

from pdiff.evaluation.schema import RESULTS, read_results
from pdiff.report.page import REPORT, SCORES, make_report, save_report, write_report
from pdiff.report.tables import Table, terminal_table

__all__ = [
    "REPORT",
    "RESULTS",
    "SCORES",
    "Table",
    "make_report",
    "read_results",
    "save_report",
    "terminal_table",
    "write_report",
]
