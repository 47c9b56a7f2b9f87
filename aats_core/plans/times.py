"""Times as people write them: lengths such as `1h30m`, and moments."""

from __future__ import annotations

import math
import re
from datetime import date, datetime

from aats_core.errors import InvalidRequest

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)"
_LENGTH = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
_LONGEST = 36525 * 86400.0
_EXAMPLES = "write a number of seconds or a time such as 90s, 15m, 2h, 1d or 1h30m"


def parse_seconds(value: object) -> float:
    """Return the seconds of `90s`, `15m`, `2h`, `1d`, `1h30m` (units in that order) or of a number.

    Raises `InvalidRequest` for anything else, and for what is negative or longer than a hundred years.
    """
    seconds = _length(value) if isinstance(value, str) else _number(value)
    if seconds < 0:
        raise InvalidRequest("must not be negative")
    if seconds > _LONGEST:
        raise InvalidRequest("is longer than a hundred years")
    return seconds


def _length(text: str) -> float:
    found = _LENGTH.fullmatch(text.strip())
    if not found or not any(found.groups()):
        raise InvalidRequest(f"{text[:40]!r} is not a time; {_EXAMPLES}")
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS.values(), strict=True) if part)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"is not a time; {_EXAMPLES}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if math.isnan(seconds):
        raise InvalidRequest(f"is not a time; {_EXAMPLES}")
    return seconds


def parse_deadline(value: object, *, now: float) -> float:
    """Return a Unix time: that of an RFC 3339 timestamp with its zone, or `now` plus a length.

    Raises `InvalidRequest` as `parse_seconds` does, and for a timestamp without a zone.
    """
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return _moment(datetime(value.year, value.month, value.day))
    if isinstance(value, str) and not _LENGTH.fullmatch(value.strip()):
        return _moment(_timestamp(value.strip()))
    return now + parse_seconds(value)


def _timestamp(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text[:40]!r} is neither a length such as 2h nor a timestamp such as 2030-01-31T18:00:00+01:00"
        raise InvalidRequest(message) from error


def _moment(value: datetime) -> float:
    if value.tzinfo is None:
        raise InvalidRequest(f"{value.isoformat()} has no time zone; write a time and Z or an offset such as +01:00")
    return value.timestamp()


def format_seconds(seconds: float) -> str:
    """Return a length for people: `0.25s`, `90s`, `1h30m`; rounded to seconds above two minutes."""
    if seconds < 120:
        return f"{seconds:.3g}s"
    rest = round(seconds)
    parts: list[str] = []
    for name, unit in _UNITS.items():
        count, rest = divmod(rest, int(unit))
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts)
