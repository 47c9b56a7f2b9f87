"""The one filter, update and pipeline language of every record store: MongoDB's, a documented subset of it."""

from aats_core.query.aggregate import Context, PipelineRun, run_pipeline
from aats_core.query.apply import is_modified, updated, upserted
from aats_core.query.filters import Clause
from aats_core.query.match import matcher
from aats_core.query.order import sorted_by
from aats_core.query.parse_filter import parse_filter
from aats_core.query.parse_pipeline import parse_pipeline
from aats_core.query.parse_update import parse_sort, parse_update
from aats_core.query.projection import Projection, parse_projection, project
from aats_core.query.shape import Prepared
from aats_core.query.updates import Changes

__all__ = [
    "Changes",
    "Clause",
    "Context",
    "PipelineRun",
    "Prepared",
    "Projection",
    "is_modified",
    "matcher",
    "parse_filter",
    "parse_pipeline",
    "parse_projection",
    "parse_sort",
    "parse_update",
    "project",
    "run_pipeline",
    "sorted_by",
    "updated",
    "upserted",
]
