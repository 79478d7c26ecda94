"""Drawn on a terminal: pictures of traces, tables of verdicts, progress. Works without one and without colour."""

from tracelab.report.console.edges import EdgeTable
from tracelab.report.console.matrix import Matrix
from tracelab.report.console.progress import BootView, LoadView
from tracelab.report.console.table import condition_line, error, log_line, run_list, run_summary, status_table
from tracelab.report.console.theme import make_console
from tracelab.report.console.trace import TraceList
from tracelab.report.console.verdict import verdict_table
from tracelab.report.console.waterfall import waterfall

__all__ = [
    "BootView",
    "EdgeTable",
    "LoadView",
    "Matrix",
    "TraceList",
    "condition_line",
    "error",
    "log_line",
    "make_console",
    "run_list",
    "run_summary",
    "status_table",
    "verdict_table",
    "waterfall",
]
