"""A program, and whatever it starts, ends with its owner: when told to, when closed, and when the owner is killed."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from aats_core.processes import Process, Processes
from aats_core.testing.leftovers import child_processes, nothing_left

ENV = dict(os.environ)
PATIENCE = 10.0

# The shell, a child and a grandchild that ignore SIGTERM, and a daemon in a session of its own; each notes its pid.
FAMILY = """
trap '' TERM
sleep 1000 & echo $! >> pids
sh -c 'sleep 1000 & echo $! >> pids; wait' &
setsid sh -c 'echo $$ >> pids; sleep 1000' &
echo $$ >> pids
wait
"""


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    files = len(list(Path("/proc/self/fd").iterdir()))
    with nothing_left(PATIENCE):
        yield
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def play(scenario: Callable[[Processes], Awaitable[None]], *, grace: float = 0.2) -> None:
    async def life() -> None:
        processes = Processes(grace=grace)
        try:
            async with asyncio.timeout(60):
                await scenario(processes)
        finally:
            await processes.close()

    asyncio.run(life())


async def output_of(processes: Processes, *argv: str, **options: object) -> tuple[int, str]:
    """Run a program to its end; returns its exit code and what it wrote to both outputs (a pipe's worth)."""
    out, into = os.pipe()
    try:
        process = await processes.start(argv, env=ENV, fds={1: into, 2: into}, **options)  # type: ignore[arg-type]
    finally:
        os.close(into)
    code = await process.wait()
    with os.fdopen(out, "rb") as pipe:
        return code, pipe.read().decode()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def keep_the_event_loop_from_hearing(process: Process) -> None:
    """Return once the program has ended and its supervisor has had time to say so."""
    until(lambda: not running(process.pid))
    time.sleep(0.02)


def pids_in(path: Path, count: int) -> list[int]:
    """Wait until so many process ids stand in the file, and return them."""
    until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().split()]


async def start_family(processes: Processes, directory: Path) -> tuple[Process, list[int]]:
    process = await processes.start(["sh", "-c", FAMILY], env=ENV, cwd=directory)
    pids = await asyncio.to_thread(pids_in, directory / "pids", 4)
    assert all(map(running, pids))
    return process, pids


def spin(stop: threading.Event) -> None:
    while not stop.is_set():
        str(stop)


class TestStart:
    def test_a_program_runs_with_its_arguments_environment_and_directory(self, tmp_path: Path) -> None:
        async def scenario(processes: Processes) -> None:
            out, into = os.pipe()
            process = await processes.start(
                ["sh", "-c", 'echo "$1" "$GREETING"; pwd', "name", "a b\nc"],
                env={**ENV, "GREETING": "hällo"},
                cwd=tmp_path,
                fds={1: into},
            )
            os.close(into)
            assert await process.wait() == 0
            with os.fdopen(out, "rb") as pipe:
                assert pipe.read().decode() == f"a b\nc hällo\n{tmp_path}\n"

        play(scenario)

    @pytest.mark.parametrize(("line", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15)])
    def test_its_exit_code_is_told(self, line: str, code: int) -> None:
        async def scenario(processes: Processes) -> None:
            assert await output_of(processes, "sh", "-c", line) == (code, "")

        play(scenario)

    def test_it_gets_the_file_descriptors_it_was_given_and_no_others(self) -> None:
        async def scenario(processes: Processes) -> None:
            pipes = [os.pipe() for _ in range(3)]
            kept = os.open(os.devnull, os.O_RDONLY)
            os.set_inheritable(kept, True)  # noqa: FBT003 - its only signature
            fds = {1: pipes[0][1], 3: pipes[1][1], 7: pipes[2][1]}
            list_them = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
            argv = [sys.executable, "-c", f"{list_them}; os.write(3, b'three'); os.write(7, b'seven')"]
            process = await processes.start(argv, env=ENV, fds=fds)
            for _, into in pipes:
                os.close(into)
            assert await process.wait() == 0
            texts = []
            for out, _ in pipes:
                with os.fdopen(out, "rb") as pipe:
                    texts.append(pipe.read().decode())
            os.close(kept)
            listing_itself = 4  # the lowest free number, which listdir uses meanwhile
            assert texts == [f"[0, 1, 2, 3, {listing_itself}, 7]\n", "three", "seven"]

        play(scenario)

    def test_it_leads_a_session_of_its_own(self) -> None:
        async def scenario(processes: Processes) -> None:
            code, text = await output_of(processes, "sh", "-c", "ps -o sid=,pgid= -p $$; echo $$")
            sid, group, pid = text.split()
            assert (code, sid, group) == (0, pid, pid)

        play(scenario)

    def test_signals_that_python_ignores_are_not_ignored_by_it(self) -> None:
        async def scenario(processes: Processes) -> None:
            code, _ = await output_of(processes, "sh", "-c", "yes | head -1 > /dev/null; kill -PIPE $$")
            assert code == -signal.SIGPIPE

        play(scenario)

    @pytest.mark.parametrize(
        ("argv", "cwd", "number", "filename"),
        [
            (["no-such-program"], None, errno.ENOENT, "no-such-program"),
            (["./no-such-program"], "/tmp", errno.ENOENT, "./no-such-program"),
            (["/tmp"], None, errno.EACCES, "/tmp"),
            (["true"], "/no/such/directory", errno.ENOENT, "/no/such/directory"),
            (["true"], "/etc/passwd", errno.ENOTDIR, "/etc/passwd"),
            (["true", "x" * 3_000_000], None, errno.E2BIG, "true"),
        ],
    )
    def test_what_cannot_be_executed_is_an_os_error_that_names_the_file(
        self, argv: list[str], cwd: str | None, number: int, filename: str
    ) -> None:
        async def scenario(processes: Processes) -> None:
            with pytest.raises(OSError, match=filename) as failed:
                await processes.start(argv, env=ENV, cwd=cwd)
            assert (failed.value.errno, failed.value.filename) == (number, filename)

        play(scenario)

    @pytest.mark.parametrize(("argv", "env"), [(["tr\0ue"], {}), (["true", "\0"], {}), (["true"], {"A=B": "c"})])
    def test_what_cannot_be_passed_is_a_value_error(self, argv: list[str], env: dict[str, str]) -> None:
        async def scenario(processes: Processes) -> None:
            with pytest.raises(ValueError, match="cannot be started like this"):
                await processes.start(argv, env={**ENV, **env})

        play(scenario)

    def test_many_start_at_once_while_other_threads_are_busy(self) -> None:
        stop = threading.Event()
        threads = [threading.Thread(target=spin, args=[stop]) for _ in range(4)]

        async def scenario(processes: Processes) -> None:
            results = await asyncio.gather(*(output_of(processes, "sh", "-c", f"echo {n}") for n in range(40)))
            assert results == [(0, f"{n}\n") for n in range(40)]

        for thread in threads:
            thread.start()
        try:
            play(scenario)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_bytes_that_are_no_text_pass_through(self) -> None:
        async def scenario(processes: Processes) -> None:
            name = os.fsdecode(b"\xff\xfe")
            assert await output_of(processes, "sh", "-c", 'printf "%d" "${#1}"', "sh", name) == (0, "2")

        play(scenario)


class TestEnd:
    def test_everything_ends_even_what_ignores_sigterm_or_left_the_session(self, tmp_path: Path) -> None:
        async def scenario(processes: Processes) -> None:
            process, pids = await start_family(processes, tmp_path)
            process.end()
            assert await process.wait() == -signal.SIGKILL
            assert not any(map(running, pids))

        play(scenario)

    def test_a_program_that_heeds_sigterm_ends_in_its_own_way(self, tmp_path: Path) -> None:
        async def scenario(processes: Processes) -> None:
            line = "trap 'echo cleaned > done; exit 7' TERM; echo $$ > pid; while :; do sleep 0.01; done"
            process = await processes.start(["sh", "-c", line], env=ENV, cwd=tmp_path)
            await asyncio.to_thread(pids_in, tmp_path / "pid", 1)
            process.end()
            assert await process.wait() == 7
            assert (tmp_path / "done").read_text() == "cleaned\n"

        play(scenario, grace=PATIENCE)

    def test_ending_twice_or_too_late_is_harmless(self) -> None:
        async def scenario(processes: Processes) -> None:
            process = await processes.start(["sleep", "1000"], env=ENV)
            process.end()
            process.end()
            assert await process.wait() == -signal.SIGTERM
            process.end()
            assert await process.wait() == -signal.SIGTERM

        play(scenario, grace=PATIENCE)

    def test_the_exit_code_is_told_to_who_has_it_ended_just_when_it_ends(self) -> None:
        async def scenario(processes: Processes) -> None:
            for _ in range(20):
                process = await processes.start(["sh", "-c", "exit 5"], env=ENV)
                keep_the_event_loop_from_hearing(process)
                process.end()
                assert await process.wait() == 5

        play(scenario)

    def test_stopping_waits_for_the_end_even_while_it_is_cancelled(self, tmp_path: Path) -> None:
        async def scenario(processes: Processes) -> None:
            process, pids = await start_family(processes, tmp_path)
            stopping = asyncio.ensure_future(process.stop())
            for _ in range(3):
                await asyncio.sleep(0)
                stopping.cancel()
            await asyncio.wait({stopping})
            assert stopping.cancelled()
            assert not any(map(running, pids))

        play(scenario)

    def test_what_a_program_leaves_running_ends_with_it(self, tmp_path: Path) -> None:
        async def scenario(processes: Processes) -> None:
            line = "sleep 1000 & echo $! >> pids; setsid sleep 1000 & echo $! >> pids"
            process = await processes.start(["sh", "-c", line], env=ENV, cwd=tmp_path)
            assert await process.wait() == 0
            assert not any(map(running, pids_in(tmp_path / "pids", 2)))

        play(scenario)

    def test_closing_ends_what_runs(self, tmp_path: Path) -> None:
        pids: list[int] = []

        async def scenario(processes: Processes) -> None:
            pids.extend((await start_family(processes, tmp_path))[1])
            await processes.close()
            assert not any(map(running, pids))

        play(scenario)
        assert len(pids) == 4

    def test_it_can_be_used_again_after_closing(self) -> None:
        async def scenario(processes: Processes) -> None:
            for _ in range(2):
                assert await output_of(processes, "echo", "hello") == (0, "hello\n")
                await processes.close()
                await processes.close()

        play(scenario)

    def test_a_cancelled_first_start_leaves_nothing(self) -> None:
        for turns in range(8):

            async def scenario(processes: Processes, turns: int = turns) -> None:
                starting = asyncio.ensure_future(processes.start(["sleep", "1000"], env=ENV))
                for _ in range(turns):
                    await asyncio.sleep(0)
                starting.cancel()
                await asyncio.wait({starting})

            play(scenario)

    def test_a_cancelled_start_has_ended_what_it_began_when_it_returns(self, tmp_path: Path) -> None:
        async def scenario(processes: Processes) -> None:
            await output_of(processes, "true")
            (launcher,) = child_processes()
            for turns in range(12):
                starting = asyncio.ensure_future(processes.start(["sleep", "1000"], env=ENV))
                for _ in range(turns):
                    await asyncio.sleep(0)
                starting.cancel()
                await asyncio.wait({starting})
                assert starting.cancelled()
            await asyncio.to_thread(until, lambda: not children_of(launcher))

        play(scenario, grace=PATIENCE)

    def test_a_program_cancelled_while_it_starts_has_the_grace_time_too(self, tmp_path: Path) -> None:
        line = "trap 'echo cleaned > done; exit' TERM; echo $$ > pid; while :; do sleep 0.01; done"

        async def scenario(processes: Processes) -> None:
            starting = asyncio.ensure_future(processes.start(["sh", "-c", line], env=ENV, cwd=tmp_path))
            await asyncio.sleep(0)
            (launcher,) = child_processes()
            while not children_of(launcher):
                await asyncio.sleep(0)
            pids_in(tmp_path / "pid", 1)  # keeps the event loop from hearing that it has started
            starting.cancel()
            await asyncio.wait({starting})
            assert starting.cancelled()
            assert (tmp_path / "done").read_text() == "cleaned\n"

        play(scenario, grace=PATIENCE)


OWNER = """
import asyncio, os, sys
from aats_core.processes import Processes

async def main():
    processes = Processes(grace=60)
    for directory in sys.argv[2:]:
        await processes.start(["sh", "-c", sys.argv[1]], env=dict(os.environ), cwd=directory)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


class TestKilled:
    def test_when_the_owner_is_killed_everything_ends(self, tmp_path: Path) -> None:
        places = [tmp_path / "a", tmp_path / "b"]
        for place in places:
            place.mkdir()
        with subprocess.Popen([sys.executable, "-c", OWNER, FAMILY, *map(str, places)]) as owner:
            pids = [pid for place in places for pid in pids_in(place / "pids", 4)]
            launcher = children_of(owner.pid)
            assert launcher
            owner.kill()
        until(lambda: not any(map(running, pids + launcher)))

    def test_when_a_supervisor_is_killed_its_program_ends_and_the_owner_is_told(self) -> None:
        async def scenario(processes: Processes) -> None:
            process = await processes.start(["sleep", "1000"], env=ENV)
            os.kill(parent_of(process.pid), signal.SIGKILL)
            with pytest.raises(ChildProcessError, match="supervisor is gone"):
                await process.wait()
            await asyncio.to_thread(until, lambda: not running(process.pid))

        play(scenario)

    def test_when_the_launcher_is_killed_what_runs_goes_on_and_there_is_a_new_one(self) -> None:
        async def scenario(processes: Processes) -> None:
            process = await processes.start(["sh", "-c", "read line; exit 5"], env=ENV, fds={0: (pipe := os.pipe())[0]})
            (launcher,) = child_processes()
            os.kill(launcher, signal.SIGKILL)
            await asyncio.to_thread(until, lambda: not running(launcher))
            assert await output_of(processes, "echo", "hello") == (0, "hello\n")
            os.write(pipe[1], b"\n")
            assert await process.wait() == 5
            for fd in pipe:
                os.close(fd)

        play(scenario)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
