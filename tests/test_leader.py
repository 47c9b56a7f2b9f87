"""Two processes run the project manager on one database: one leads, and when it dies the other finishes its plans."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pytest

from aats_core.door_client import connect
from aats_core.errors import AatsError, InvalidRequest
from aats_core.message import new_id
from aats_core.operations import Operations
from aats_core.task import Plan, PlanRecord, PlanState, Task
from tests.conftest import Site
from tests.services import MongoServer, PostgresServer

pytestmark = pytest.mark.timeout(240)

T = TypeVar("T")

TASKS = 40

TEAM = """
[team]
namespace = "{namespace}"
lease = "2s"

[stores.primary]
{store}

[agents.probe]
replicas = 4
"""


class Host:
    """A process of the team with a state directory of its own, as on a host of its own."""

    def __init__(self, path: Path, team: str, site: Site) -> None:
        path.mkdir()
        (path / "team.toml").write_text(team)
        self._state = path / ".aats"
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("aats"), "run", "team.toml"],
            cwd=path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site.path), os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def end(self) -> None:
        """End it, whatever state it is in."""
        with suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        self._process.wait()

    def ask(self, question: Callable[[Operations], Awaitable[T]]) -> T:
        async def put() -> T:
            async with connect(self._state) as team:
                return await question(team)

        return asyncio.run(put())

    def serves(self) -> bool:
        assert self._process.poll() is None, self.log()
        with suppress(AatsError):
            self.ask(lambda team: team.status())
            return True
        return False

    def log(self) -> str:
        path = self._state / "aats.log"
        return path.read_text() if path.exists() else ""

    def state(self, plan: str) -> PlanState:
        return self.ask(lambda team: team.plan(plan)).plan.state


@pytest.fixture
def make_hosts(tmp_path: Path, probe: Site) -> Iterator[Callable[[str], tuple[Host, Host]]]:
    """Return a function that starts the team on two hosts, on one store; the first of them leads."""
    hosts: list[Host] = []

    def make(store: str) -> tuple[Host, Host]:
        team = TEAM.format(namespace=f"t{uuid4().hex[:12]}", store=store)
        for name in ("first", "second"):
            host = Host(tmp_path / name, team, probe)
            hosts.append(host)
            until(host.serves)
        return hosts[0], hosts[1]

    yield make
    for host in hosts:
        host.end()


def until(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(0.05)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def plan(kind: str, payload: Callable[[int], Any]) -> Plan:
    """Return a plan of tasks of which each but the first few needs another."""
    tasks = [Task(f"t{n}", kind, payload=payload(n), needs=(f"t{n - 4}",) if n >= 4 else ()) for n in range(TASKS)]
    return Plan("shared", tuple(tasks))


def submit(hosts: list[Host], plan: Plan) -> PlanRecord:
    """Submit a plan to the host that leads; on a machine that was held up that may be any."""
    key = new_id()
    while True:
        for host in hosts:
            with suppress(InvalidRequest):
                return host.ask(lambda team: team.submit(plan, key))


def test_after_kill_9_of_the_leader_the_other_finishes_and_every_effect_happened_once(make_hosts, service, tmp_path):
    first, second = make_hosts(f'plugin = "postgres"\ndsn = "{service(PostgresServer).url}"')
    ledger = tmp_path / "ledger"
    work = plan("probe.append", lambda _: {"path": str(ledger), "pause": 0.02})
    submitted = submit([first, second], work)

    until(lambda: len(lines(ledger)) >= 10)
    first.send(signal.SIGKILL)
    until(lambda: second.state(submitted.id) is not PlanState.ACTIVE)

    assert second.state(submitted.id) is PlanState.DONE
    assert Counter(lines(ledger)) == {f"t{n}": 1 for n in range(TASKS)}
    assert "this one leads now" in second.log()


def test_a_leader_that_was_held_up_finds_that_another_leads_and_changes_nothing(make_hosts, service):
    server = service(MongoServer)
    with server.short_transactions():
        first, second = make_hosts(f'plugin = "mongodb"\nurl = "{server.url}"\ndatabase = "aats_leader_test"')
        submitted = submit([first, second], plan("probe.sleep", lambda _: 0.05))

        until(lambda: any(task.state == "done" for task in second.ask(lambda team: team.plan(submitted.id)).tasks))
        first.send(signal.SIGSTOP)
        until(lambda: second.state(submitted.id) is not PlanState.ACTIVE)
        before = second.ask(lambda team: team.plan(submitted.id))
        first.send(signal.SIGCONT)
        until(lambda: "standing by" in first.log())

        assert before.plan.state is PlanState.DONE
        assert msgspec.to_builtins(second.ask(lambda team: team.plan(submitted.id))) == msgspec.to_builtins(before)
        assert first.state(submitted.id) is PlanState.DONE
