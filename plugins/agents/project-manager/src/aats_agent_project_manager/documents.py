"""How plans and tasks lie in the store: a plan with what was submitted, and a small document for each task's state."""

from __future__ import annotations

from typing import Any

import msgspec

from aats_core.store import Document, Index, Put, RecordStore, Schema
from aats_core.task import PlanRecord, PlanState, Task, TaskRecord, TaskState, Transition

PLANS = "plans"
TASKS = "tasks"


async def prepare(records: RecordStore) -> None:
    """Make the collections and their indexes."""
    await records.ensure(
        PLANS,
        Schema(indexes=(Index({"state": 1}), Index({"submitted": -1}), Index({"name": 1}), Index({"key": 1}))),
    )
    await records.ensure(TASKS, Schema(indexes=(Index({"plan": 1}),)))


def plan_document(record: PlanRecord, tasks: tuple[Task, ...]) -> Document:
    """Return a plan as it is stored."""
    document: Document = msgspec.to_builtins(record)
    document["_id"] = document.pop("id")
    document["state"] = record.state.value
    document["key"] = record.key
    document["tasks"] = msgspec.to_builtins(tasks)
    return document


def read_record(document: Document) -> PlanRecord:
    """Return a stored plan without its tasks."""
    return msgspec.convert({**document, "id": document["_id"]}, PlanRecord)


_TASK_FIELDS = (
    "attempt",
    "failures",
    "lost",
    "worker",
    "not_before",
    "started",
    "ended",
    "seconds",
    "output",
    "error",
    "cancel",
)


_VALUES = {state: state.value for state in TaskState}


def task_put(record: TaskRecord) -> Put:
    """Return the write that stores a task's state; what was submitted lies with its plan."""
    document: Document = {
        "_id": record.id,
        "plan": record.plan,
        "name": record.task.name,
        "state": _VALUES[record.state],
        "attempt": record.attempt,
        "history": [(_VALUES[t.state], t.time, t.reason, t.attempt, t.worker) for t in record.history],
    }
    for field in _TASK_FIELDS:
        value = getattr(record, field)
        if value or value == 0.0:
            document[field] = value
    if record.output is not None:
        document["output"] = record.output
    return Put(TASKS, document)


def read_task(document: Document, task: Task) -> TaskRecord:
    """Return a stored task."""
    record = TaskRecord(
        document["_id"],
        document["plan"],
        task,
        TaskState(document["state"]),
        history=[Transition(TaskState(state), *rest) for state, *rest in document["history"]],
    )
    for field in _TASK_FIELDS:
        if field in document:
            setattr(record, field, document[field])
    return record


async def load_plan(records: RecordStore, document: Document) -> tuple[PlanRecord, dict[str, TaskRecord]]:
    """Return a stored plan with its tasks, in the order of its file."""
    record, tasks = read_record(document), msgspec.convert(document["tasks"], tuple[Task, ...])
    stored = {found["name"]: found for found in await records.find(TASKS, {"plan": record.id})}
    known = {
        task.name: read_task(stored[task.name], task)
        if task.name in stored
        else TaskRecord(f"{record.id}/{task.name}", record.id, task)
        for task in tasks
    }
    return record, known


async def find_plan(records: RecordStore, id: str) -> Document | None:
    """Return the plan with that id, or the newest of that name."""
    found = await records.find(PLANS, {"_id": id}, limit=1)
    if not found:
        found = await records.find(PLANS, {"name": id}, sort={"submitted": -1}, limit=1)
    return found[0] if found else None


async def find_submitted(records: RecordStore, key: str) -> PlanRecord | None:
    """Return the plan that was submitted with that key."""
    found = await records.find(PLANS, {"key": key}, projection={"tasks": 0}, limit=1)
    return read_record(found[0]) if found else None


async def find_plans(records: RecordStore, state: PlanState | None, limit: int) -> list[Document]:
    """Return plans without what was submitted, newest first."""
    wanted: dict[str, Any] = {} if state is None else {"state": state.value}
    return await records.find(PLANS, wanted, projection={"tasks": 0}, sort={"submitted": -1}, limit=limit)
