"""How a process that runs a team is tuned; the command line does it, a program that embeds a team may."""

from __future__ import annotations

import gc

ALLOCATIONS = 50_000
"""Objects made before the collector of cycles looks for garbage; by default that is 700."""


def tune_process() -> None:
    """Have the collector of cycles run seldom, and pass over what is there already.

    Messages, tasks and documents hold no cycles, so that counting references frees them; looking through all of them
    again and again took a third of the time of a busy team.
    """
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 20, 20)
