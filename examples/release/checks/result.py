"""What a check says in the end: JSON for the tasks after it, words for people, and an exit code."""

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

PASSED, FAILED, CANNOT = 0, 1, 2
_TOLD = 8


def finish(summary: str, problems: Sequence[str] = (), notes: Sequence[str] = (), **facts: object) -> NoReturn:
    """Print what was found and end: well where there is no problem, and with exit code 1 otherwise.

    Standard output gets one JSON object with `summary`, `problems`, `notes` and the facts; standard error the first
    few problems, which become the task's error.
    """
    print(json.dumps({"summary": summary, "problems": list(problems), "notes": list(notes), **facts}))
    if problems:
        print("\n".join([summary, *problems[:_TOLD]]), file=sys.stderr)
    if len(problems) > _TOLD:
        print(f"… and {len(problems) - _TOLD} more, see the report", file=sys.stderr)
    raise SystemExit(FAILED if problems else PASSED)


def give_up(reason: str) -> NoReturn:
    """End with exit code 2: the check could not be made."""
    print(f"this check cannot be made: {reason}", file=sys.stderr)
    raise SystemExit(CANNOT)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `3 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
