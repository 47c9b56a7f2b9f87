"""Plans whose tasks live in a store on a server, through kill -9 of the run and of the server; a suite to subclass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aats_core.message import new_id

TASKS, KILLS, REPLICAS = 60, 3, 3
PATIENCE = 300.0
"""Seconds that a run gets to make progress, or to end, however much else the machine has to do."""

TEAM = """
[team]
namespace = "{namespace}"

[stores.primary]
{section}

[agents.shell]
replicas = {replicas}
"""


class Run:
    """`aats run` of one team and one plan, in a directory of its own."""

    def __init__(self, directory: Path, namespace: str, environment: dict[str, str]) -> None:
        self.directory = directory
        self.namespace = namespace
        self.ledger = directory / "ledger"
        self._environment = {**os.environ, **environment}

    def start(self) -> subprocess.Popen[str]:
        """Begin, or go on."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("aats")), "run", "team.toml", "--plan", "plan.json"],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def lines(self) -> list[str]:
        """Return which tasks have run, each as often as it did."""
        return self.ledger.read_text().split() if self.ledger.exists() else []

    def until(self, process: subprocess.Popen[str], more: int) -> None:
        """Wait until so many more tasks have run."""
        wanted = len(self.lines()) + more
        until = time.monotonic() + PATIENCE
        while len(self.lines()) < wanted and process.poll() is None:
            if time.monotonic() > until:
                os.killpg(process.pid, signal.SIGKILL)
                pytest.fail(f"the run makes no progress: {process.communicate()[0]}")
            time.sleep(0.01)

    def finish(self, process: subprocess.Popen[str]) -> str:
        """Wait for its end, which has to be a good one."""
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output[-2000:]
        return output


@pytest.mark.timeout(4 * PATIENCE)
class StoredRuns(ABC):
    """Tests of a plan on one server; a subclass named `Test...` says which, and looks at what it holds.

    They take the fixture `own_server`: a running server that may be killed.
    """

    section: str
    """What the team file says of the store; the environment holds the server's address as `PLAN_STORE`."""

    @abstractmethod
    def states(self, server: Any, namespace: str) -> set[str]:
        """Return the states of the tasks that the server holds, read past the store."""

    @pytest.fixture
    def plan(self, own_server: Any, tmp_path: Path) -> Run:
        """A plan of chains of small tasks, each of which writes its name into the ledger."""
        tasks: dict[str, Any] = {}
        for number in range(TASKS):
            command = f"echo t{number} >> ledger; sleep 0.05"
            tasks[f"t{number}"] = {"kind": "shell.run", "payload": {"command": command}}
            if number >= REPLICAS * 2:
                tasks[f"t{number}"]["needs"] = [f"t{number - REPLICAS * 2}"]
        namespace = f"plan{new_id()[-12:]}".lower()
        team = TEAM.format(namespace=namespace, replicas=REPLICAS, section=self.section)
        (tmp_path / "team.toml").write_text(team)
        (tmp_path / "plan.json").write_bytes(msgspec.json.encode({"name": "small", "tasks": tasks}))
        return Run(tmp_path, namespace, {"PLAN_STORE": own_server.url})

    def test_a_run_that_is_killed_goes_on_where_it_was(self, plan: Run) -> None:
        for _ in range(KILLS):
            process = plan.start()
            plan.until(process, 8)
            assert process.poll() is None, process.communicate()
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        output = plan.finish(plan.start())

        ran = Counter(plan.lines())
        assert set(ran) == {f"t{number}" for number in range(TASKS)}, output
        assert sum(ran.values()) <= TASKS + KILLS * REPLICAS, "tasks ran again that had ended"
        assert not list(plan.directory.glob(".aats/store.db")), "the tasks lie on the server alone"

    def test_a_run_outlives_a_restart_of_the_server(self, plan: Run, own_server: Any) -> None:
        process = plan.start()
        plan.until(process, 8)
        own_server.kill()
        time.sleep(0.5)
        own_server.start()
        plan.finish(process)

        ran = Counter(plan.lines())
        assert set(ran) == {f"t{number}" for number in range(TASKS)}
        assert set(ran.values()) == {1}

    def test_the_tasks_can_be_seen_in_the_database(self, plan: Run, own_server: Any) -> None:
        plan.finish(plan.start())
        assert self.states(own_server, plan.namespace) == {"done"}
