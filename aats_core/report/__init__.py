"""Reports on plans: what was carried out when, by whom, and what went wrong, as one HTML page or as data."""

from aats_core.report.facts import Report, TaskReport, summarise
from aats_core.report.history import Attempt, Phase
from aats_core.report.page import render, write_report
from aats_core.report.sections import outcome

__all__ = ["Attempt", "Phase", "Report", "TaskReport", "outcome", "render", "summarise", "write_report"]
