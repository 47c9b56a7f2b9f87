"""Deliveries that have to be settled in time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from aats_broker_rabbitmq.delivery import RabbitDelivery


class Leases:
    """Calls a function with each delivery that is neither ended nor renewed within a fixed time: one timer for all."""

    def __init__(self, seconds: float, expired: Callable[[RabbitDelivery], None]) -> None:
        self._seconds = seconds
        self._expired = expired
        self._ends: OrderedDict[RabbitDelivery, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many deliveries are held."""
        return len(self._ends)

    def begin(self, delivery: RabbitDelivery) -> None:
        """Start the time of a delivery."""
        loop = asyncio.get_running_loop()
        self._ends[delivery] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._ring)

    def end(self, delivery: RabbitDelivery) -> bool:
        """Forget a delivery, and tell whether it was still held."""
        return self._ends.pop(delivery, None) is not None

    def renew(self, delivery: RabbitDelivery) -> None:
        """Start the time of a delivery again, if it is still held."""
        if delivery in self._ends:
            self._ends[delivery] = asyncio.get_running_loop().time() + self._seconds
            self._ends.move_to_end(delivery)

    def end_all(self) -> list[RabbitDelivery]:
        """Forget every delivery, and return those that were held."""
        held = list(self._ends)
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return held

    def _ring(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._ends:
            delivery, end = next(iter(self._ends.items()))
            if end > loop.time():
                self._timer = loop.call_at(end, self._ring)
                return
            del self._ends[delivery]
            self._expired(delivery)
