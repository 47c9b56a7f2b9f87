"""Nothing that a command started outlives it, its timeout, its cancellation, its agent, or the team's process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aats_core.errors import TaskFailed

Run = Callable[..., Any]

FAMILY = """
trap '' TERM
sleep 1000 & echo $! >> pids
sh -c 'sleep 1000 & echo $! >> pids; wait' &
setsid sh -c 'echo $$ >> pids; sleep 1000' &
echo $$ >> pids
wait
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pids_in(path: Path, count: int = 4) -> list[int]:
    until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().split()]


class TestEnd:
    def test_a_timeout_ends_all_that_the_command_started_and_keeps_its_output(self, play: Run, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            with pytest.raises(TaskFailed, match=r"no end within 0\.5 s") as failed:
                await runner.run(f"echo begun; {FAMILY}", cwd=str(tmp_path), timeout=0.5)
            assert failed.value.retry
            assert failed.value.output["stdout"] == "begun"
            assert failed.value.output["code"] == -signal.SIGKILL
            assert not any(map(running, pids_in(tmp_path / "pids")))

        play(scenario)

    def test_the_agents_timeout_counts_where_the_task_has_none(self, run: Run) -> None:
        with pytest.raises(TaskFailed, match=r"no end within 0\.1 s"):
            run(["sleep", "1000"], settings={"timeout": 0.1})
        assert run(["sleep", "0.2"], timeout=30, settings={"timeout": 0.1})["code"] == 0

    def test_cancellation_ends_all_that_the_command_started_before_it_is_raised(
        self, play: Run, tmp_path: Path
    ) -> None:
        async def scenario(runner: Any) -> None:
            task = asyncio.ensure_future(runner.run(FAMILY, cwd=str(tmp_path)))
            pids = await asyncio.to_thread(pids_in, tmp_path / "pids")
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait({task})
            assert task.cancelled()
            assert not any(map(running, pids))

        play(scenario)

    def test_a_command_may_clean_up_in_the_grace_time(self, play: Run, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            line = "trap 'echo bye > done; exit' TERM; echo $$ > pids; while :; do sleep 0.01; done"
            task = asyncio.ensure_future(runner.run(line, cwd=str(tmp_path)))
            await asyncio.to_thread(pids_in, tmp_path / "pids", 1)
            task.cancel()
            await asyncio.wait({task})
            assert (tmp_path / "done").read_text() == "bye\n"

        play(scenario, grace=10)

    def test_what_a_command_leaves_behind_is_ended(self, play: Run, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            await runner.run("sleep 1000 & echo $! > pids; setsid sleep 1000 & echo $! >> pids", cwd=str(tmp_path))
            assert not any(map(running, pids_in(tmp_path / "pids", 2)))

        play(scenario)

    def test_stopping_the_agent_ends_what_runs(self, play: Run, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            task = asyncio.ensure_future(runner.run(FAMILY, cwd=str(tmp_path)))
            pids = await asyncio.to_thread(pids_in, tmp_path / "pids")
            await runner.agent.stop()
            assert not any(map(running, pids))
            with pytest.raises(TaskFailed, match="ended by SIGKILL"):
                await task

        play(scenario)

    def test_many_commands_at_once_do_not_disturb_each_other(self, play: Run) -> None:
        async def scenario(runner: Any) -> None:
            outputs = await asyncio.gather(
                *(runner.run(["sh", "-c", f"echo {n}; exit {n}"], ok_codes=[n]) for n in range(30))
            )
            assert [(output["stdout"], output["code"]) for output in outputs] == [(str(n), n) for n in range(30)]

        play(scenario)

    def test_when_the_team_is_killed_the_commands_end(self, tmp_path: Path) -> None:
        script = (
            "import asyncio, sys\n"
            "from aats_agent_shell import Shell\n"
            "from aats_agent_shell.command import Command\n"
            "from aats_core.testing.fakes import FakeTaskContext, give_context\n"
            "async def main():\n"
            "    agent = Shell()\n"
            "    give_context(agent)\n"
            "    await agent.start()\n"
            "    await agent.run(Command(sys.argv[1]), FakeTaskContext())\n"
            "asyncio.run(main())\n"
        )
        with subprocess.Popen([sys.executable, "-c", script, FAMILY], cwd=tmp_path) as team:
            pids = pids_in(tmp_path / "pids")
            team.kill()
        until(lambda: not any(map(running, pids)))
