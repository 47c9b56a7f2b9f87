"""File and line for problems that were found where nobody knew of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aats_core.plans.place import Places
from aats_core.plans.reference import Reference, parse

_WAY = re.compile(r"([A-Za-z]+(?:\.[A-Za-z0-9_-]+|\[[0-9]{1,9}\]|\[\"(?:[^\"\\]|\\.)*+\"\])*+): ")


def locate(problems: Iterable[str], places: Places) -> list[str]:
    """Return the problems of `check_plan`, as it was asked without places, with the file's places before them.

    So the problems of a plan that a team has refused can be shown with their lines. What begins with no way of keys
    is left as it is.
    """
    return [_locate(problem, places) for problem in problems]


def _locate(problem: str, places: Places) -> str:
    found = _WAY.match(problem)
    if not found:
        return problem
    (reference,) = (part for part in parse(f"{{{{ {found[1]} }}}}") if isinstance(part, Reference))
    where = reference.path
    return f"{places.describe(where, places.line(where))}: {problem[found.end() :]}"
