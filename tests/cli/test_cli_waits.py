"""Why ready tasks wait: what `aats tasks` says of each, and when `aats run` tells that no worker can take one."""

import asyncio
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aats_core.cli import waits
from aats_core.cli.screen import Screen
from aats_core.cli.stuck import StuckTasks
from aats_core.errors import RequestTimeout
from aats_core.task import Wait

TEAM = """
    [team]
    name = "toys"
    lease = 3
    grace = 0
    [agents.toys]
    resources = { cpu = 1 }
"""
GPU = "name: gpu\ntasks: {a: {kind: toy.nap, resources: {gpu: 1}}, b: {kind: toy.nap, resources: {gpu: 1}}}"
MIXED = """
    tasks:
      a: {kind: toy.nap, payload: {seconds: 600}, priority: 1}
      b: {kind: toy.nap}
      c: {kind: toy.nap, resources: {gpu: 1}}
"""
WHY = "no worker has enough: it needs gpu 1; worker toys offers gpu 0"
LEASE = 0.03


class TeamOfWords:
    """Answers for each look of a script; `None` stands for a task scheduler that is away."""

    def __init__(self, *script: dict[str, Wait] | None) -> None:
        self.script = list(script)
        self.read = asyncio.Event()

    async def explain(self, ids: list[str]) -> list[Wait]:
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if len(self.script) == 1:
            self.read.set()
        if answer is None:
            raise RequestTimeout("the scheduler is away")
        return [answer[task] for task in ids]


class Notes(Screen):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def told(*script: dict[str, Wait] | None) -> list[str]:
    """Return what is told while each answer of a script is given for longer than a lease."""
    long = [answer for answer in script for _ in range(10)]

    async def scenario() -> list[str]:
        team, screen = TeamOfWords(*long), Notes()
        stuck = StuckTasks(team, screen, lease=LEASE)  # type: ignore[arg-type] - asked for nothing else
        tasks = next(list(answer) for answer in script if answer)
        watching = asyncio.create_task(stuck.watch(lambda: tasks))
        async with asyncio.timeout(20):
            await team.read.wait()
        watching.cancel()
        return screen.notes

    return asyncio.run(scenario())


class TestStuckTasks:
    def test_a_task_that_no_worker_can_take_is_told_once(self) -> None:
        assert told({"p/a": Wait("no worker", stuck=True)}) == ["p/a waits: no worker"]

    def test_tasks_of_one_plan_with_the_same_reason_are_told_together(self) -> None:
        stuck = Wait("no worker", stuck=True)
        assert told({"p/a": stuck, "p/b": stuck, "q/a": stuck}) == [
            "p/a and 1 more wait: no worker",
            "q/a waits: no worker",
        ]

    def test_another_reason_is_told_again_and_so_is_one_that_comes_back(self) -> None:
        none, small = {"p/a": Wait("no worker", stuck=True)}, {"p/a": Wait("too small", stuck=True)}
        assert told(none, small, none) == ["p/a waits: no worker", "p/a waits: too small", "p/a waits: no worker"]

    def test_a_task_that_only_waits_for_its_turn_is_not_told(self) -> None:
        assert told({"p/a": Wait("the only worker is busy")}) == []

    def test_a_reason_that_does_not_last_is_not_told(self) -> None:
        async def scenario() -> list[str]:
            stuck, busy = {"p/a": Wait("no worker", stuck=True)}, {"p/a": Wait("busy")}
            team, screen = TeamOfWords(stuck, busy, stuck, busy, stuck, busy), Notes()
            # So long a lease that of these looks, made by hand, none is a lease after another.
            watched = StuckTasks(team, screen, lease=3600.0)  # type: ignore[arg-type] - asked for nothing else
            for _ in range(6):
                await watched.look(["p/a"])
            return screen.notes

        assert asyncio.run(scenario()) == []

    def test_a_scheduler_that_is_away_for_a_while_changes_nothing(self) -> None:
        stuck = {"p/a": Wait("no worker", stuck=True)}
        assert told(stuck, None, stuck) == ["p/a waits: no worker"]


class TestExplain:
    def test_no_message_asks_about_more_than_a_thousand(self) -> None:
        asked: list[int] = []

        class Team:
            async def explain(self, ids: list[str]) -> list[Wait]:
                asked.append(len(ids))
                return [Wait(task) for task in ids]

        ids = [f"p/{n}" for n in range(2500)]
        found = asyncio.run(waits.explain(Team(), ids))  # type: ignore[arg-type] - asked for nothing else
        assert asked == [1000, 1000, 500]
        assert found == {task: Wait(task) for task in ids}

    def test_a_scheduler_that_is_silent_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Team:
            async def explain(self, ids: list[str]) -> list[Wait]:
                await asyncio.Event().wait()
                raise AssertionError(ids)

        monkeypatch.setattr(waits, "PATIENCE", 0.01)
        with pytest.raises(TimeoutError):
            asyncio.run(waits.explain(Team(), ["p/a"]))  # type: ignore[arg-type] - asked for nothing else


def rows(place: Any, *arguments: str) -> list[list[str]]:
    result = place.aats("tasks", *arguments)
    assert result.returncode == 0, result.stderr
    return [re.split(r"  +", line) for line in result.stdout.splitlines()[1:]]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def serve(place: Any) -> Iterator[Callable[[str], None]]:
    started = []

    def serve(team: str) -> None:
        place.write("team.toml", team)
        started.append(place.start("run", "team.toml", stderr=subprocess.DEVNULL))
        until((place.path / ".aats" / "aats.sock").exists)

    yield serve
    for team in started:
        team.terminate()
        assert team.wait(60) == 0


class TestCommands:
    def test_tasks_says_why_each_ready_task_waits(self, place: Any, serve: Callable[[str], None]) -> None:
        serve(TEAM)
        place.write("mixed.yaml", MIXED)
        assert place.aats("submit", "mixed.yaml").returncode == 0
        until(lambda: [row[1] for row in rows(place)] == ["running", "ready", "ready"])

        assert [row[-1] for row in rows(place, "mixed")][1:] == ["the only worker is busy", WHY]
        found = json.loads(place.aats("tasks", "--json").stdout)
        assert [task["waits"] for task in found] == ["", "the only worker is busy", WHY]

    def test_tasks_are_listed_although_the_scheduler_does_not_answer(
        self, place: Any, serve: Callable[[str], None]
    ) -> None:
        serve(f"{TEAM}[agents.task-scheduler]\n    plugin = 'deaf'\n")
        place.write("gpu.yaml", GPU)
        assert place.aats("submit", "gpu.yaml").returncode == 0
        until(lambda: [row[1] for row in rows(place)] == ["ready", "ready"])
        assert {row[-1] for row in rows(place, "gpu")} == {"the task scheduler does not answer"}

    def test_run_tells_that_no_worker_can_take_a_task(self, place: Any) -> None:
        place.write("team.toml", TEAM)
        place.write("gpu.yaml", GPU)
        process = place.start("run", "team.toml", "--plan", "gpu.yaml")
        line = process.stderr.readline()
        assert re.fullmatch(rf"aats: gpu-\w+/a and 1 more wait: {WHY}\n", line)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
