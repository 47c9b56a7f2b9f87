"""What those who compile filters ask of clauses."""

from __future__ import annotations

import re
from typing import TypeGuard

from aats_core.query.filters import Clause, Compare, HasType, In, Matches, Modulo, OneValue, Slot

_PLAIN = r"A-Za-z0-9 _/:@,#%&=!<>~;'-"
_PREFIX = re.compile(rf"\^([{_PLAIN}]+)(?![{_PLAIN}*?{{])")


def is_about_one_value(clause: Clause) -> TypeGuard[OneValue]:
    """Tell whether one value, or an element of an array, fulfils a clause by itself."""
    return isinstance(clause, Compare | In | HasType | Matches | Modulo)


def can_be_array(clause: OneValue) -> bool:
    """Tell whether an array as a whole may fulfil a clause about one value."""
    if isinstance(clause, Compare):
        return clause.operand.__class__ is list
    if isinstance(clause, In):
        return not isinstance(clause.operands, Slot) and any(value.__class__ is list for value in clause.operands)
    return isinstance(clause, HasType) and "array" in clause.types


def prefix_of(pattern: re.Pattern[str]) -> tuple[str, bool] | None:
    """Return what all strings begin with that a pattern matches, if it says so, and whether they need nothing else."""
    prefix = _PREFIX.match(pattern.pattern)
    if prefix is None or pattern.flags != re.UNICODE or "|" in pattern.pattern:
        return None
    return prefix[1], prefix.end() == len(pattern.pattern)
