"""What a function raises comes back; what ends or outlasts its process costs that process, and no other call."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aats_core.errors import TaskFailed
from aats_core.secrets import remember

Call = Callable[..., Any]


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


class TestRaised:
    def test_an_exception_comes_back_with_type_message_and_traceback(self, call: Call) -> None:
        source = """
            class OutOfPaper(Exception): pass
            def inner(): raise OutOfPaper("tray 2")
            def f():
                print("printing")
                inner()
        """
        with pytest.raises(TaskFailed, match=r"^jobs:f raised jobs\.OutOfPaper: tray 2$") as failed:
            call(source)
        output: Any = failed.value.output
        assert failed.value.retry
        assert (output["type"], output["message"], output["printed"]) == ("jobs.OutOfPaper", "tray 2", "printing")
        assert [line.strip() for line in output["traceback"].splitlines()][-1] == "jobs.OutOfPaper: tray 2"
        assert "in inner" in output["traceback"]
        assert "worker.py" not in output["traceback"]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("raise SystemExit(3)", r"raised SystemExit: sys\.exit\(3\)"),
            ("raise KeyboardInterrupt", "raised KeyboardInterrupt: $"),
            ("import asyncio; raise asyncio.CancelledError", r"raised asyncio\.exceptions\.CancelledError"),
            ("import no_such_dependency", "raised ModuleNotFoundError: No module named 'no_such_dependency'"),
            ("return 1 / 0", "raised ZeroDivisionError: division by zero"),
            ("f()", "raised RecursionError"),
            ("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})", r"raised jobs\.E: \(its text"),
            ("raise ValueError('x' * 1000000)", "raised ValueError: x"),
        ],
    )
    def test_whatever_it_raises_leaves_the_process_as_good_as_before(self, play: Call, body: str, reason: str) -> None:
        async def scenario(runner: Any) -> None:
            before = await runner.call("jobs:pid")
            with pytest.raises(TaskFailed, match=reason) as failed:
                await runner.call("jobs:f")
            assert failed.value.retry
            assert len(str(failed.value)) < 21_000
            assert await runner.call("jobs:pid") == before

        play(f"import os\ndef pid(): return os.getpid()\ndef f():\n    {body}\n", scenario)

    def test_a_module_that_fails_on_import_says_so_and_may_work_in_another_attempt(
        self, play: Call, tmp_path: Path
    ) -> None:
        async def scenario(runner: Any) -> None:
            with pytest.raises(TaskFailed, match="raised FileNotFoundError"):
                await runner.call("jobs:f")
            (tmp_path / "there").touch()
            assert await runner.call("jobs:f") == "works"

        play(f"open({str(tmp_path / 'there')!r})\ndef f(): return 'works'", scenario)

    def test_a_function_may_forbid_another_attempt_and_leave_an_output(self, call: Call) -> None:
        source = """
            from aats_core.errors import TaskFailed
            def f(): raise TaskFailed("no such customer", retry=False, output={"customer": 7})
        """
        with pytest.raises(TaskFailed, match="no such customer") as failed:
            call(source)
        assert (failed.value.retry, failed.value.output) == (False, {"customer": 7})

    def test_a_secret_is_not_in_the_message(self, call: Call) -> None:
        remember("hunter2-of-python")
        with pytest.raises(TaskFailed) as failed:
            call("def f(): raise ValueError('token hunter2-of-python')")
        assert "hunter2-of-python" not in str(failed.value)


class TestKilled:
    @pytest.mark.parametrize(
        ("body", "how", "printed"),
        [
            ("print('last words'); os._exit(3)", "with exit code 3", "last words"),
            ("print('last words'); os._exit(0)", "with exit code 0", "last words"),
            ("import ctypes; ctypes.string_at(0)", "by SIGSEGV", "Fatal Python error: Segmentation fault"),
            ("os.kill(os.getpid(), 9)", "by SIGKILL", ""),
            ("os.closerange(3, 100); import time; time.sleep(1000)", "by SIGTERM", ""),
        ],
    )
    def test_a_function_that_ends_its_process_fails_that_attempt_and_the_next_call_works(
        self, play: Call, body: str, how: str, printed: str
    ) -> None:
        async def scenario(runner: Any) -> None:
            before = await runner.call("jobs:pid")
            with pytest.raises(TaskFailed) as failed:
                await runner.call("jobs:f")
            assert str(failed.value) == f"jobs:f: its process was ended {how}"
            output: Any = failed.value.output
            assert output["printed"].startswith(printed)
            assert failed.value.retry
            assert await runner.call("jobs:pid") != before

        play(f"import os\ndef pid(): return os.getpid()\ndef f():\n    {body}\n", scenario)

    def test_the_calls_beside_it_go_on(self, play: Call, tmp_path: Path) -> None:
        source = """
            import os, pathlib, time
            def wait(mark):
                pathlib.Path(mark).touch()
                while pathlib.Path(mark).exists(): time.sleep(0.01)
                return "done"
            def f(): os._exit(1)
        """

        async def scenario(runner: Any) -> None:
            beside = asyncio.ensure_future(runner.call("jobs:wait", str(tmp_path / "mark")))
            await asyncio.to_thread(until, (tmp_path / "mark").exists)
            for _ in range(2):
                with pytest.raises(TaskFailed):
                    await runner.call("jobs:f")
            (tmp_path / "mark").unlink()
            assert await beside == "done"

        play(source, scenario, replicas=2)

    def test_a_process_that_ends_while_it_is_idle_is_replaced(self, play: Call) -> None:
        source = """
            import os, threading
            def later():
                threading.Timer(0.05, os._exit, [1]).start()
                return os.getpid()
            def pid(): return os.getpid()
        """

        async def scenario(runner: Any) -> None:
            pid = await runner.call("jobs:later")
            await asyncio.to_thread(until, lambda: not running(pid))
            await asyncio.sleep(0)
            assert await runner.call("jobs:pid") != pid

        play(source, scenario)


SLOW = """
    import os, pathlib, subprocess
    def f(mark):
        child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"], start_new_session=True)
        pathlib.Path(mark).write_text(f"{os.getpid()} {child.pid}")
        child.wait()
    def g():
        return "works"
"""


def pids_in(mark: Path) -> list[int]:
    until(lambda: mark.exists() and len(mark.read_text().split()) == 2)
    return [int(pid) for pid in mark.read_text().split()]


class TestEnded:
    def test_a_timeout_ends_the_process_and_what_it_started(self, play: Call, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            with pytest.raises(TaskFailed, match=r"jobs:f: no end within 1 s") as failed:
                await runner.call("jobs:f", str(tmp_path / "mark"), timeout=1)
            assert failed.value.retry
            assert not any(map(running, pids_in(tmp_path / "mark")))
            assert await runner.call("jobs:g") == "works"

        play(SLOW, scenario)

    def test_the_agents_timeout_counts_where_the_task_has_none(self, call: Call) -> None:
        with pytest.raises(TaskFailed, match=r"no end within 0\.2 s"):
            call("import time\ndef f(): time.sleep(1000)", settings={"timeout": 0.2})

    def test_cancellation_ends_the_process_and_what_it_started(self, play: Call, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            running_call = asyncio.ensure_future(runner.call("jobs:f", str(tmp_path / "mark")))
            pids = await asyncio.to_thread(pids_in, tmp_path / "mark")
            for _ in range(3):
                running_call.cancel()
                await asyncio.sleep(0)
            await asyncio.wait({running_call})
            assert running_call.cancelled()
            assert not any(map(running, pids))
            assert await runner.call("jobs:g") == "works"

        play(SLOW, scenario)

    def test_a_call_cancelled_while_it_waits_for_a_process_costs_none(self, play: Call, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            first = asyncio.ensure_future(runner.call("jobs:f", str(tmp_path / "mark"), timeout=1))
            await asyncio.to_thread(pids_in, tmp_path / "mark")
            second = asyncio.ensure_future(runner.call("jobs:g"))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(TaskFailed, match="no end"):
                await first
            assert second.cancelled()
            assert await runner.call("jobs:g") == "works"

        play(SLOW, scenario)

    def test_stopping_the_agent_ends_what_runs(self, play: Call, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            running_call = asyncio.ensure_future(runner.call("jobs:f", str(tmp_path / "mark")))
            pids = await asyncio.to_thread(pids_in, tmp_path / "mark")
            await runner.agent.stop()
            assert not any(map(running, pids))
            with pytest.raises(TaskFailed, match="its process was ended"):
                await running_call

        play(SLOW, scenario)

    def test_an_idle_process_may_clean_up_when_the_agent_stops(self, play: Call, tmp_path: Path) -> None:
        source = f"""
            import atexit, pathlib
            def f(): atexit.register(pathlib.Path({str(tmp_path / "clean")!r}).touch)
        """
        play(source, lambda runner: runner.call("jobs:f"))
        assert (tmp_path / "clean").exists()

    def test_an_idle_process_that_does_not_end_is_ended(self, call: Call) -> None:
        assert call("import threading, time\ndef f(): threading.Thread(target=time.sleep, args=[1000]).start()") is None

    def test_when_the_team_is_killed_its_processes_end(self, modules: Callable[..., Path], tmp_path: Path) -> None:
        script = (
            "import asyncio, sys\n"
            "from aats_agent_python import Python\n"
            "from aats_agent_python.agent import Call\n"
            "from aats_core.testing.fakes import FakeTaskContext, give_context\n"
            "async def main():\n"
            "    agent = Python()\n"
            "    give_context(agent, Python.Settings(path=[sys.argv[1]]))\n"
            "    await agent.start()\n"
            "    await agent.call(Call('jobs:f', [sys.argv[2]]), FakeTaskContext())\n"
            "asyncio.run(main())\n"
        )
        mark = tmp_path / "mark"
        with subprocess.Popen([sys.executable, "-c", script, str(modules(jobs=SLOW)), str(mark)]) as team:
            pids = pids_in(mark)
            team.kill()
        until(lambda: not any(map(running, pids)))
