"""Report an evaluation: a self-contained page, and the table that the terminal shows too."""

from pdiff.evaluation.schema import RESULTS, read_results
from pdiff.report.page import REPORT, make_report, save_report, write_report
from pdiff.report.tables import summary_rows

__all__ = ["REPORT", "RESULTS", "make_report", "read_results", "save_report", "summary_rows", "write_report"]
