"""The report of an evaluation: a self-contained page, and the table that the terminal shows too."""

from pdiff.report.page import REPORT, RESULTS, save_report, write_report
from pdiff.report.summary import summary_rows

__all__ = ["REPORT", "RESULTS", "save_report", "summary_rows", "write_report"]
