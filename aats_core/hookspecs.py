"""What plugins can observe: hooks are synchronous, return at once, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from aats_core.broker import DeadLetter
    from aats_core.operations import TaskEvent
    from aats_core.settings import TeamInfo

PROJECT = "aats"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method of a plugin's class as an observer."""


@hookspec
def team_started(info: TeamInfo) -> None:
    """The team runs: everything in its file has started."""


@hookspec
def team_stopping(info: TeamInfo) -> None:
    """The team is about to stop; everything still runs."""


@hookspec
def agent_crashed(agent: str, error: BaseException, restarts: int) -> None:
    """An agent crashed; it is restarted, for the `restarts`-th time, or given up where `restarts` is 0."""


@hookspec
def task_changed(event: TaskEvent) -> None:
    """A task changed its state, and the change is stored; or it reported progress."""


@hookspec
def message_dead(letter: DeadLetter) -> None:
    """A message became a dead letter in this process."""
