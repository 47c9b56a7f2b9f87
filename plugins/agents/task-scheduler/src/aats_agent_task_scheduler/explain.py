"""Why a task does not run yet, in words for people."""

from __future__ import annotations

from aats_agent_task_scheduler.plan import Node, Stage
from aats_agent_task_scheduler.ready import ReadyQueue
from aats_agent_task_scheduler.workers import Pool, Worker
from aats_core.task import Wait

SHOWN = 5
"""How many names a sentence holds at most."""


def explain(node: Node, now: float, *, pool: Pool, queue: ReadyQueue, draining: bool) -> str:
    """Return one sentence without its full stop; for a task in line it begins with its place."""
    wait = find_wait(node, now, pool=pool, draining=draining)
    if node.stage is not Stage.QUEUED or wait.stuck or draining:
        return wait.reason
    return f"it is number {queue.ahead(node) + 1} in line for kind {node.kind}: {wait.reason}"


def find_wait(node: Node, now: float, *, pool: Pool, draining: bool) -> Wait:
    """Return why a task does not run, by looking at no other task in line: the same for all that ask for the same."""
    if node.stage is Stage.QUEUED:
        return Wait("the team is draining: no task is assigned any more") if draining else _workers(node, pool)
    return Wait(_elsewhere(node, now))


def _elsewhere(node: Node, now: float) -> str:
    if node.stage is Stage.RUNNING and node.lease is not None:
        return f"it runs on worker {node.lease.worker.name} as attempt {node.attempt}"
    if node.stage is Stage.ENDED:
        return "it has ended"
    if node.stage is Stage.WAITING:
        return _needs(node)
    return f"attempt {node.attempt} begins in {max(0.0, (node.not_before or now) - now):.0f} s, not before"


def _needs(node: Node) -> str:
    open_needs = [need for need in node.needs if need.stage is not Stage.ENDED]
    if not open_needs:
        return "all that it needs has ended, and the project manager has not released it yet"
    return "it needs " + _some([f"{need.name} ({_state(need)})" for need in open_needs])


def _state(node: Node) -> str:
    if node.stage is Stage.RUNNING and node.lease is not None:
        return f"running on {node.lease.worker.name}"
    return node.stage.value


def _workers(node: Node, pool: Pool) -> Wait:
    offering = list(pool.of(node.kind))
    if not offering:
        return Wait(f"no worker offers kind {node.kind}", stuck=True)
    able = [worker for worker in offering if worker.could(node.resources)]
    if not able:
        needs = _amounts(dict(node.resources))
        return Wait(f"no worker has enough: it needs {needs}; {_offers(node, offering)}", stuck=True)
    taking = [worker for worker in able if not worker.draining]
    if not taking:
        return Wait(
            f"every worker that could run it is draining: {_some([worker.name for worker in able])}", stuck=True
        )
    if any(worker.free > 0 for worker in taking):
        if not node.resources or any(worker.free > 0 and worker.fits(node.resources) for worker in taking):
            return Wait("what is free is kept for a task that has waited longer")
        return Wait(f"it needs {_amounts(dict(node.resources))}, in use on {_free(node, taking)}")
    count = len(taking)
    return Wait(f"{'the only worker is' if count == 1 else f'all {count} workers are'} busy")


def _offers(node: Node, workers: list[Worker]) -> str:
    names = [name for name, _ in node.resources]
    return _some(
        [
            f"worker {worker.name} offers {_amounts({name: worker.resources.get(name, 0.0) for name in names})}"
            for worker in workers
        ]
    )


def _free(node: Node, workers: list[Worker]) -> str:
    def words(worker: Worker) -> str:
        free = {name: worker.unused(name) for name, _ in node.resources}
        return f"{worker.name} (free: {_amounts(free)})"

    return _some([words(worker) for worker in workers])


def _amounts(amounts: dict[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in amounts.items())


def _some(words: list[str]) -> str:
    shown = ", ".join(words[:SHOWN])
    return shown if len(words) <= SHOWN else f"{shown} and {len(words) - SHOWN} more"
