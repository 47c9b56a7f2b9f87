"""Middleware: what is wrapped around every message handler of a team."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from aats_core.message import Message

Proceed = Callable[[], Awaitable[Any]]
"""Runs what is wrapped, once, and returns its result."""


class Middleware(ABC):
    """Wraps the handling of messages, for tracing and the like; an integration that derives from it is used so."""

    @abstractmethod
    async def handle(self, agent: str, message: Message, proceed: Proceed) -> Any:
        """Handle a message: await `proceed()` once, return its result, let its errors pass."""


def wrap(middleware: tuple[Middleware, ...], agent: str, message: Message, innermost: Proceed) -> Proceed:
    """Return the handler wrapped in all of the middleware, the first one outermost."""
    proceed = innermost
    for layer in reversed(middleware):
        proceed = _bind(layer, agent, message, proceed)
    return proceed


def _bind(layer: Middleware, agent: str, message: Message, proceed: Proceed) -> Proceed:
    return lambda: layer.handle(agent, message, proceed)
