"""How plans in work and their outcome are shown: as a picture on a terminal, as lines when piped, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aats_core.cli.lines import JsonLines, Lines
from aats_core.cli.output import console, print_json_line, silence
from aats_core.cli.screen import Display
from aats_core.cli.summary import print_summary, summary
from aats_core.operations import PlanDetail


def choose_display(*, as_json: bool) -> Display:
    """Return the display that fits what stdout is."""
    if as_json:
        return JsonLines()
    terminal = console()
    if not terminal.is_terminal or terminal.is_dumb_terminal:
        return Lines()
    from aats_core.cli.live import LiveDisplay

    return LiveDisplay(terminal)


def print_outcome(details: Sequence[PlanDetail], code: int, *, as_json: bool) -> None:
    """Print the summary; where nobody reads any more, it is not an error."""
    try:
        if as_json:
            print_json_line(summary(details, code))
        else:
            print_summary(console(), details)
        sys.stdout.flush()
    except OSError:
        silence()
