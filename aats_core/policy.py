"""Who may do what: the one decision point, and the subject at whose wish something happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aats_core.errors import AccessDenied

SUBJECT: ContextVar[str] = ContextVar("aats_subject", default="")
"""The current subject; the runtime sets it from each message that an agent handles."""


def current_subject() -> str:
    """Return the principal at whose wish the present work happens; empty for the team itself."""
    return SUBJECT.get()


@contextmanager
def acting_for(subject: str) -> Iterator[None]:
    """Do what is inside at the wish of that principal; messages sent meanwhile carry it on."""
    token = SUBJECT.set(subject)
    try:
        yield
    finally:
        SUBJECT.reset(token)


class Policy(ABC):
    """Decides; asked by the operations, the data layer and the message path."""

    @abstractmethod
    def allow(self, subject: str, verb: str, resource: str) -> bool:
        """Tell whether that subject may do that to that resource; must not block."""

    def check(self, verb: str, resource: str) -> None:
        """Raise `AccessDenied` where the current subject may not do that."""
        subject = current_subject()
        if not self.allow(subject, verb, resource):
            raise AccessDenied(f"{subject or 'the team'} may not {verb} {resource}")


class AllowAll(Policy):
    """Allows everything: the default of an embedded team, whose door only its own user can open."""

    def allow(self, subject: str, verb: str, resource: str) -> bool:  # noqa: ARG002
        """Allow it."""
        return True
