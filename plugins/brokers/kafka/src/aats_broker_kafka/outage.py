"""What is said of an outage: that it began, and that it is over."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)


class Outage:
    """Logs once that a node cannot be reached, however often that is tried, and once that it answers again."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def failed(self, node: int, error: object) -> None:
        """Take note that a node did not answer."""
        if node not in self._since:
            self._since[node] = time.monotonic()
            log.warning("Kafka's node %s does not answer, it is tried on: %s", node, error)

    def answered(self, node: int) -> None:
        """Take note that a node did."""
        if self._since and (since := self._since.pop(node, None)) is not None:
            log.warning("Kafka's node %s answers again, after %.1f s", node, time.monotonic() - since)
