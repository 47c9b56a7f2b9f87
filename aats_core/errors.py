"""Every error that the kernel and its plugins raise; a class's docstring is its default message."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc


class AatsError(Exception):
    """Something went wrong in the team."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or cleandoc(type(self).__doc__ or ""))


class SettingsError(AatsError):
    """The team file is not valid."""


class PluginError(AatsError):
    """A plugin cannot be used."""


class PluginNotFound(PluginError):
    """No installed plugin has that name."""


class PluginBroken(PluginError):
    """The plugin is installed but cannot be loaded."""


class WiringError(AatsError):
    """A constructor asks for something that the team does not have."""


class StateError(AatsError):
    """The state directory cannot be used."""


class StateLocked(StateError):
    """Another process holds the state directory."""


class StateTooNew(StateError):
    """The state was written by a newer version of AATS."""


class AccessDenied(AatsError):
    """The policy does not allow this."""


class NotFound(AatsError):
    """There is nothing with that id."""


class InvalidRequest(AatsError):
    """The request cannot be carried out as it stands."""


class TeamUnavailable(AatsError):
    """No team is running there."""


class LeaseHeld(AatsError):
    """Another process holds the lease."""


class LeaseLost(AatsError):
    """The lease ran out or was taken by another process."""


class MigrationError(AatsError):
    """The migrations cannot be carried out as they stand."""


class MigrationFailed(MigrationError):
    """A step of the migrations failed."""


# Messages and agents


class MessageError(AatsError):
    """A message could not be handled."""


class InvalidPayload(MessageError):
    """The payload does not fit the handler's annotations."""


class NoHandler(MessageError):
    """The agent has no handler for this type of message."""


class UnknownReceiver(MessageError):
    """No agent of that name is known."""


class RequestTimeout(MessageError):
    """No answer came in time."""


class RequestFailed(MessageError):
    """The handler raised an error instead of answering."""


class AgentFailed(AatsError):
    """The agent has stopped, or crashed more often than its restart limit allows."""


# Brokers


class BrokerError(AatsError):
    """The broker refused an operation."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached; the message was not accepted."""


class MessageTooLarge(BrokerError):
    """The message is larger than the broker accepts; it was not accepted."""


# Stores


class StoreError(AatsError):
    """The store refused an operation; nothing of it was applied."""


class StoreUnavailable(StoreError):
    """The store cannot be reached."""


class StoreFull(StoreError):
    """The store has no room left; nothing of the operation was applied."""


class DuplicateKey(StoreError):
    """A document with that unique key exists already."""


class Conflict(StoreError):
    """Someone else changed the data in between; nothing of the operation was applied."""


class SchemaMismatch(StoreError):
    """The document does not fit the schema of its collection."""


class InvalidDocument(StoreError):
    """The document holds something that a store cannot keep."""


class InvalidQuery(StoreError):
    """The filter, update or pipeline is not valid."""


# Tasks


class Refused(AatsError):
    """The plan was refused and nothing of it was stored.

    `problems` holds one line for each thing that is wrong, each with its place in the file.
    """

    def __init__(self, problems: Sequence[str], source: str = "") -> None:
        self.problems = tuple(problems)
        where = f"{source}: " if source else ""
        count = len(self.problems)
        head = f"{where}refused, {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class TaskFailed(AatsError):
    """The task failed.

    Raised by a task handler to fail the attempt with a message of its own; `retry=False` forbids another
    attempt, and `output` is kept with the failure.
    """

    def __init__(self, message: str | None = None, *, retry: bool = True, output: object = None) -> None:
        super().__init__(message or "The task failed.")
        self.retry = retry
        self.output = output


class EffectUnknown(AatsError):
    """A crash left it open whether an effect happened; a person or a compensation has to decide."""
