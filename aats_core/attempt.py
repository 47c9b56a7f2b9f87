"""One attempt of a task: what its handler sees of it, and what comes of it whatever the handler does."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core.agent import TaskContext
from aats_core.effects import TaskEffects
from aats_core.errors import EffectUnknown, InvalidPayload, TaskFailed
from aats_core.handlers import Handler
from aats_core.message import Message
from aats_core.replica import CURRENT
from aats_core.task import PROJECT_MANAGER, Outcome, TaskAssignment, TaskProgress

if TYPE_CHECKING:
    from aats_core.clock import Clock
    from aats_core.replica import Replica
    from aats_core.worker import Worker

log = logging.getLogger("aats.worker")

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of JSON that an output may have, as many as a plan file."""

ERROR_LIMIT = 64 * 1024
"""Characters of an error that are kept."""


class Run(TaskContext):
    """One attempt of a task while it runs here."""

    def __init__(self, worker: Worker, assignment: TaskAssignment, subject: str) -> None:
        self.worker = worker
        self.assignment = assignment
        self.subject = subject
        self.id = assignment.id
        self.plan = assignment.plan
        self.name = assignment.name
        self.kind = assignment.kind
        self.attempt = assignment.attempt
        self.deadline = assignment.deadline
        self.inputs = assignment.inputs
        self.stop_as: Outcome | None = None
        self.stop_reason = ""
        self.replica: Replica | None = None
        self.running: asyncio.Task[None] | None = None
        self.began = 0.0

    @property
    def clock(self) -> Clock:  # type: ignore[override] # read-only here, and no handler replaces it
        """The team's clock."""
        return self.worker.host.runtime.clock

    @property
    def effects(self) -> TaskEffects:  # type: ignore[override] # made when first asked for
        """What the task does to the world."""
        made = self.__dict__.get("_effects")
        if made is None:
            made = self.__dict__["_effects"] = TaskEffects(self.worker.host.runtime.records, self.id, self.attempt)
        return made

    @property
    def writes(self) -> tuple[Any, ...]:
        """What the task adds to its result's transaction."""
        made = self.__dict__.get("_effects")
        return made.writes if made is not None else ()

    async def report(self, text: str) -> None:
        """Tell the project manager how far the task is."""
        progress = TaskProgress(self.plan, self.name, self.attempt, text)
        await self.worker.tell(PROJECT_MANAGER, "task.progress", progress)

    async def heartbeat(self) -> None:
        """Renew the lease now."""
        await self.worker.announce()
        await asyncio.sleep(0)

    def stop(self, outcome: Outcome, reason: str) -> None:
        """Have the attempt end as cancelled or returned; where its handler has not begun yet, it never does."""
        self.stop_as, self.stop_reason = outcome, reason
        if self.running is not None:
            self.running.cancel()


async def carry_out(run: Run, handler: Handler[Any] | None) -> tuple[Outcome, Any, str]:
    """Run the handler and return outcome, output and error; nothing that a handler does gets past this."""
    assignment = run.assignment
    if run.stop_as is not None or run.replica is None:
        return run.stop_as or Outcome.RETURNED, None, run.stop_reason
    if handler is None:
        return Outcome.REFUSED, None, f"{run.worker.host.name} does not run tasks of kind {assignment.kind!r}"
    message = Message(assignment.kind, assignment.payload, correlation_id=run.id)
    CURRENT.set(message)  # what the handler sends carries on the task's id
    timeout = asyncio.timeout(assignment.timeout)
    try:
        async with timeout:
            output = handler.check_result(await handler.call(run.replica.agent, message, run))
        return Outcome.DONE, _plain(output), ""
    except InvalidPayload as error:
        return Outcome.REFUSED, None, _words(error)
    except EffectUnknown as error:
        return Outcome.UNKNOWN, None, _words(error)
    except asyncio.CancelledError:
        return _cancelled(run)
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        if run.stop_as is not None:
            return run.stop_as, None, run.stop_reason
        if timeout.expired():
            return Outcome.FAILED, None, f"no end after its timeout of {assignment.timeout:g} s"
        if isinstance(error, TaskFailed):
            return _failure(error)
        log.info("%s failed", run.id, exc_info=error)
        return Outcome.FAILED, None, f"{error.__class__.__name__}: {_words(error)}"


def _cancelled(run: Run) -> tuple[Outcome, Any, str]:
    """Return what became of an attempt whose handler was cancelled: by the worker, by its end, or by itself."""
    if run.stop_as is not None:
        return run.stop_as, None, run.stop_reason
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return Outcome.RETURNED, None, "the worker ended"
    return Outcome.FAILED, None, "CancelledError: what the handler waited for was cancelled"


def _failure(error: TaskFailed) -> tuple[Outcome, Any, str]:
    """Return what a handler says of its failure, without an output that cannot be stored."""
    outcome = Outcome.FAILED if error.retry else Outcome.REFUSED
    try:
        return outcome, _plain(error.output), _words(error)
    except InvalidPayload as problem:
        return outcome, None, f"{_words(error)} ({_words(problem)})"


def _words(error: BaseException) -> str:
    """Return what an error says, as text that can be stored whatever it was made of."""
    try:
        text = str(error).encode(errors="backslashreplace").decode()
    except Exception:
        log.exception("an error cannot say what it is about")
        return "an error that cannot say what it is about"
    cut = len(text) - ERROR_LIMIT
    return text if cut <= 0 else f"{text[:ERROR_LIMIT]}… ({cut} characters more)"


def _plain(output: object) -> object:
    """Return an output as JSON can carry it; raises `InvalidPayload` where it cannot, or where it is too large."""
    if output is None or output.__class__ is bool:
        return output
    try:
        dump = getattr(output, "model_dump", None)
        plain = dump(mode="json") if dump is not None else msgspec.to_builtins(output, str_keys=True)
        text = msgspec.json.encode(plain)
        if b"null" in text:
            json.dumps(plain, allow_nan=False)  # refuses what became a null there: NaN and the infinities
        size = len(text)
    except Exception as error:
        raise InvalidPayload(f"the output cannot be stored: {error}") from error
    if size > OUTPUT_LIMIT:
        raise InvalidPayload(
            f"the output has {size / 2**20:.1f} MiB of JSON, at most {OUTPUT_LIMIT >> 20} MiB can be stored: "
            "write it to a file and return the file's path"
        )
    return plain
