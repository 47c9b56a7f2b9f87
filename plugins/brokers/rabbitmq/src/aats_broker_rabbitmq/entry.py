"""A message that RabbitMQ handed to this client, and what is written beside it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aats_core.message import Message

if TYPE_CHECKING:
    from aats_broker_rabbitmq.intake import Intake

ATTEMPTS, DUE_MS, KEY, SUSPECT, TOPIC = "aats-attempts", "aats-due", "aats-key", "aats-suspect", "aats-topic"
"""Headers: earlier deliveries that the server does not count, when it is due, its key, whether it
may have ended its consumers, its topic where it is not in the
routing key."""
RETURNS = "x-delivery-count"


class Entry:
    """A message of one group: `attempts` deliveries were made of it, `returned_as` is what the server would make of it.

    `holder` is the delivery that has it in hand, `fault` says why nobody may. `due` is in Unix seconds, 0 for now.
    """

    __slots__ = (
        *("intake", "tag", "topic", "message", "body", "key", "due", "order", "since", "holder"),
        *("attempts", "came_back", "fault", "returned_as", "suspect"),
    )

    def __init__(self, intake: Intake, tag: int, topic: str, message: Message, body: bytes) -> None:
        self.intake = intake
        self.tag = tag
        self.topic = topic
        self.message = message
        self.body = body
        self.key: str | None = None
        self.due = 0.0
        self.attempts = 0
        self.fault = ""
        self.came_back = self.suspect = False
        self.returned_as = 1
        self.order = 0
        self.since = 0.0
        self.holder: object = None

    def read(self, headers: dict[str, Any]) -> None:
        """Take over what the headers say."""
        self.key = headers.get(KEY)
        self.due = headers.get(DUE_MS, 0) / 1000
        returns = headers.get(RETURNS, 0)
        self.came_back = returns > 0
        self.suspect = SUSPECT in headers
        self.attempts = headers.get(ATTEMPTS, 0) + returns
        self.returned_as = self.attempts + 1

    @property
    def drift(self) -> int:
        """By how much the server would be wrong about the attempts if it got the message back now."""
        return self.attempts - self.returned_as

    def wait(self) -> float:
        """Return the seconds until it is due."""
        return self.due - time.time() if self.due else 0.0

    def headers(self, due: float = 0.0) -> dict[str, Any]:
        """Return what has to stand beside it where it is published again for its group."""
        found: dict[str, Any] = {TOPIC: self.topic, ATTEMPTS: self.attempts}
        if self.suspect:
            found[SUSPECT] = 1
        return with_due(found, due)


def with_due(headers: dict[str, Any], due: float) -> dict[str, Any]:
    """Add when a message is due, in Unix seconds, 0 for now; it is rounded up to a millisecond."""
    if due:
        headers[DUE_MS] = int(due * 1000) + 1
    return headers
