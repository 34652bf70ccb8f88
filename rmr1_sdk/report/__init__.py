"""Reports of finished runs: figures, plots, and every judgment, in one file."""

from rmr1_sdk.report.figures import Report, RunFigures, make_report
from rmr1_sdk.report.markdown import as_markdown
from rmr1_sdk.report.page import as_page
from rmr1_sdk.report.runs import Judged, Run, read_runs

__all__ = ["Judged", "Report", "Run", "RunFigures", "as_markdown", "as_page", "make_report", "read_runs"]
