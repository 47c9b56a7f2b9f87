"""Plans as files: reading them, checking them, and the templates in their payloads."""

from aats_core.plans.check import check_plan
from aats_core.plans.graph import (
    CriticalPath,
    critical_path,
    dependents,
    earliest_ends,
    find_cycles,
    lower_bound,
    needs_of,
    topological_order,
    upward_ranks,
)
from aats_core.plans.locate import locate
from aats_core.plans.place import Places
from aats_core.plans.read import PlanSource, parse_plan, read_plan
from aats_core.plans.reference import Reference
from aats_core.plans.template import has_templates, references, render
from aats_core.plans.times import format_seconds, parse_deadline, parse_seconds

__all__ = [
    "CriticalPath",
    "Places",
    "PlanSource",
    "Reference",
    "check_plan",
    "critical_path",
    "dependents",
    "earliest_ends",
    "find_cycles",
    "format_seconds",
    "has_templates",
    "locate",
    "lower_bound",
    "needs_of",
    "parse_deadline",
    "parse_plan",
    "parse_seconds",
    "read_plan",
    "references",
    "render",
    "topological_order",
    "upward_ranks",
]
