"""The section of a team file that sets up the task scheduler."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aats_core.settings import AgentSettings, Seconds


class SchedulerSettings(AgentSettings):
    """What can be set of the task scheduler."""

    mailbox: Annotated[int, Field(ge=1, description="Messages that may wait for it before senders do.")] = 10_000
    replicas: Annotated[int, Field(ge=1, le=1, description="Always 1: decisions are made in one place.")] = 1
    ageing: Annotated[
        Seconds,
        Field(
            gt=0,
            description="Seconds in which a plan gets no worker that make its ready tasks one priority more urgent.",
            examples=["10m"],
        ),
    ] = 600.0
    reserve_after: Annotated[
        Seconds,
        Field(
            ge=0,
            description="Seconds after which a worker is kept free for a task whose resources never come free at once.",
            examples=["1m"],
        ),
    ] = 60.0
