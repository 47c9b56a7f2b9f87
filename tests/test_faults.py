"""Bad input and faults, as `aats run` meets them: one clear message, a telling exit code, and nothing lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aats_core.operations import PlanDetail
from aats_core.task import PROJECT_MANAGER, TASK_SCHEDULER, Plan, PlanState, Task
from aats_core.team import Team
from aats_core.team_file import load_team_file

AATS = str(Path(sys.executable).with_name("aats"))
MIB = 1024 * 1024
FAULTS = pytest.mark.faults

TEAM = """
[team]
grace = 20
lease = 3
[agents.probe]
replicas = 4
"""
LITTLE = {"tasks": {"a": {"kind": "probe.echo"}}}


class Place:
    """A directory in which `aats run` is given, again and again if need be."""

    def __init__(self, path: Path, site: Path) -> None:
        self.path = path
        self.ledger = path / "ledger"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AATS_", "COVERAGE"))}
        library = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        self.environ = {**kept, "PYTHONPATH": library, "HOME": str(path), "TMPDIR": str(path)}
        self.processes: list[subprocess.Popen[str]] = []
        self.write("team.toml", TEAM)
        self.write("plan.json", LITTLE)

    def write(self, name: str, content: str | dict[str, Any]) -> Path:
        path = self.path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def plan(self, **tasks: dict[str, Any]) -> None:
        self.write("plan.json", {"name": "p", "tasks": tasks})

    def append(self, pause: float, *needs: str) -> dict[str, Any]:
        return {"kind": "probe.append", "payload": {"path": str(self.ledger), "pause": pause}, "needs": list(needs)}

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start the command, its output piped."""
        arguments = [AATS, "run", "team.toml", "--plan", "plan.json", *more]
        return self.begin(arguments)

    def begin(self, arguments: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            arguments, cwd=self.path, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def run(self, *more: str) -> tuple[int, str, str]:
        """Run the command to its end."""
        return ended(self.start(*more))

    def aats(self, *arguments: str) -> tuple[int, str, str]:
        return ended(self.begin([AATS, *arguments]))

    def runs(self) -> list[tuple[str, int]]:
        """Return which attempts of which tasks that append have begun."""
        path = self.path / "ledger.runs"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(name, int(attempt)) for name, attempt in lines]

    def effects(self) -> Counter[str]:
        return Counter(self.ledger.read_text().split())


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert "this should not have happened" not in err
    return process.returncode, out, err


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} did not come")


@pytest.fixture
def place(tmp_path: Path, probe: Any) -> Iterator[Place]:
    made = Place(tmp_path, probe.path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    path = tmp_path_factory.mktemp("disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = f"a small file system cannot be mounted here: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield Disk(path)
    subprocess.run(["umount", "-l", path], check=True)


class TestInput:
    def test_a_plan_of_64_mebibytes_is_refused_before_anything_starts(self, place: Place) -> None:
        place.plan(a={"kind": "probe.echo", "payload": {"text": "x" * (64 * MIB)}})
        code, out, err = place.run()
        assert (code, out) == (2, "")
        assert "plan.json: is larger than 16 MiB, which is the most a plan file may have" in err
        assert not (place.path / ".aats").exists()

    def test_an_output_of_64_mebibytes_fails_its_task_and_nothing_of_it_is_stored(self, place: Place) -> None:
        place.plan(
            large={"kind": "probe.large", "payload": 64},
            fits={"kind": "probe.large", "payload": 1},
            after={"kind": "probe.echo", "needs": ["large"]},
        )
        code, out, _ = place.run()
        assert code == 1
        assert "large failed: the output has 64.0 MiB of JSON, at most 16 MiB can be stored: write it to a file" in out
        assert "not run because of it: after" in out
        assert (place.path / ".aats" / "store.db").stat().st_size < 8 * MIB

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("raise RuntimeError('no licence')", "cannot be imported: RuntimeError: no licence (at {file}:1)"),
            ("raise SystemExit(0)", "cannot be imported: SystemExit: 0 (at {file}:1)"),
        ],
    )
    def test_a_plugin_that_cannot_be_imported_is_named_with_the_reason(
        self, place: Place, probe: Any, source: str, says: str
    ) -> None:
        probe.add(
            "acme-broken", {"aats.agents": {"broken": "acme_broken:Broken"}}, modules={"acme_broken": f"{source}\n"}
        )
        place.write("team.toml", f"{TEAM}\n[agents.broken]\n")
        code, out, err = place.run()
        assert (code, out) == (2, "")
        assert "team.toml: [agents.broken] plugin: agent plugin 'broken' (acme-broken 1.0)" in err
        assert says.format(file=probe.path / "acme_broken.py") in err

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            (
                "async def start(self): raise RuntimeError('no licence')",
                "[agents.broken] start failed: RuntimeError: no licence (at ",
            ),
            (
                "async def start(self): raise SystemExit(0)",
                "broken tried to end the process in its start: SystemExit(0)",
            ),
            (
                "def __init__(self): raise SystemExit(0)",
                "[agents.broken] the constructor of Broken failed: SystemExit: 0",
            ),
        ],
    )
    def test_an_agent_that_does_not_start_is_named_with_the_reason(
        self, place: Place, probe: Any, source: str, says: str
    ) -> None:
        code = f"from aats_core import Agent\n\nclass Broken(Agent):\n    {source}\n"
        probe.add("acme-broken", {"aats.agents": {"broken": "acme_broken:Broken"}}, modules={"acme_broken": code})
        place.write("team.toml", f"{TEAM}\n[agents.broken]\n")
        exit_code, out, err = place.run()
        assert (exit_code, out) == (3, "")
        assert f"aats: the team could not start: {says}" in err


class TestHandlers:
    def test_each_way_to_fail_says_which_task_and_why(self, place: Place) -> None:
        place.plan(
            raises={"kind": "probe.flaky", "payload": 9, "retries": {"limit": 1, "backoff": 0.01}},
            hangs={"kind": "probe.sleep", "payload": 3600, "timeout": 0.2},
            lies={"kind": "probe.lie"},
            exits={"kind": "probe.exit"},
            leaves={"kind": "probe.exit_beside", "payload": 0},
            works={"kind": "probe.echo"},
        )
        code, out, err = place.run()
        assert code == 1
        for text in [
            "raises failed in attempt 2: ValueError: attempt 2 of raises",
            "hangs failed: no end after its timeout of 0.2 s",
            "lies failed: probe.lie returned something that its annotation does not allow",
            "exits failed: SystemExit: 7",
            "leaves failed: SystemExit: 0",
            "1 done, 5 failed of 6 tasks",
        ]:
            assert text in out
        assert "something that a handler began tried to end the process: SystemExit(0)" in err

    def test_a_task_that_kills_its_process_again_and_again_comes_to_an_end(self, place: Place) -> None:
        place.plan(
            poison={"kind": "probe.kill", "retries": {"lost": 2}}, after={"kind": "probe.echo", "needs": ["poison"]}
        )
        place.write(
            "other.json",
            {
                "name": "other",
                "tasks": {
                    "a": place.append(
                        0.0,
                    )
                },
            },
        )
        codes = [place.run()[0] for _ in range(3)]
        code, out, _ = place.run("--plan", "other.json")
        assert (codes, code) == ([9, 9, 9], 1)
        assert "poison failed in attempt 3: lost its worker 3 times" in out
        assert "not run because of it: after" in out
        assert place.effects() == {"a": 1}


class TestStateDirectory:
    def test_one_that_another_process_holds_is_refused_with_its_pid(self, place: Place) -> None:
        serving = place.begin([AATS, "run", "team.toml"])
        until((place.path / ".aats" / "aats.sock").exists)
        code, out, err = place.run()
        assert (code, out) == (3, "")
        assert f"is held by process {serving.pid}, a running team" in err
        serving.terminate()
        assert ended(serving)[0] == 0
        assert place.run()[0] == 0

    @pytest.mark.parametrize("what", ["store", pytest.param("directory", marks=FAULTS)])
    def test_one_of_a_newer_version_is_refused_and_left_as_it_is(self, place: Place, what: str) -> None:
        assert place.run()[0] == 0
        state = place.path / ".aats"
        if what == "directory":
            (state / "format").write_text("99\n")
            says = "has format 99, this version of AATS knows 1; upgrade aats-core"
        else:
            layout(state / "store.db", 99)
            says = f"{state / 'store.db'}: was written by a newer version of AATS (layout 99, this one knows 1)"
        code, out, err = place.run()
        assert (code, out) == (3, "")
        assert says in err
        if what == "directory":
            assert (state / "format").read_text() == "99\n"
            (state / "format").write_text("1\n")
        else:
            assert layout(state / "store.db", 1) == 99
        assert place.run()[0] == 0

    @pytest.mark.parametrize("age", ["new", pytest.param("used", marks=FAULTS)])
    def test_one_that_can_only_be_read_is_refused(self, place: Place, disk: Disk, age: str) -> None:
        where = ("--set", f"team.state_dir={disk.path / 'state'}")
        disk.remount("size=16m")
        if age == "used":
            assert place.run(*where)[0] == 0
        disk.remount("ro")
        code, out, err = place.run(*where)
        assert (code, out) == (3, "")
        assert f"state directory {disk.path / 'state'}: Read-only file system; set team.state_dir to another" in err
        disk.remount("rw")
        assert place.run(*where)[0] == 0


class TestFullDisk:
    @pytest.mark.parametrize("size", ["4k", pytest.param("16k", marks=FAULTS), pytest.param("128k", marks=FAULTS)])
    def test_one_without_room_for_the_state_is_refused_until_there_is_some(
        self, place: Place, disk: Disk, size: str
    ) -> None:
        where = ("--set", f"team.state_dir={disk.path / 'state'}")
        disk.remount(f"size={size}")
        code, out, err = place.run(*where)
        assert (code, out) == (3, "")
        assert "No space left on device" in err or "there is no room left on the disk; make some" in err
        assert str(disk.path / "state") in err
        disk.remount("size=16m")
        assert place.run(*where)[0] == 0

    def fill(self, place: Place, disk: Disk) -> tuple[str, ...]:
        """Write a plan whose outputs have no room on the disk."""
        disk.remount("size=6m")
        large = {f"large{n}": {"kind": "probe.large", "payload": 1, "needs": [f"a{n}"]} for n in range(8)}
        place.plan(**{f"a{n}": place.append(0.0) for n in range(8)}, **large, last=place.append(0.0, *large))
        return ("--set", f"team.state_dir={disk.path / 'state'}")

    def test_work_waits_until_there_is_room_and_then_goes_on(self, place: Place, disk: Disk) -> None:
        running = place.start(*self.fill(place, disk))
        wait_for(running, "the store cannot be written, work goes on as soon as it can")
        disk.remount("size=64m")
        assert ended(running)[0] == 0
        assert set(place.effects().values()) == {1}
        assert place.effects()["last"] == 1

    @FAULTS
    def test_a_kill_on_the_full_disk_loses_nothing(self, place: Place, disk: Disk) -> None:
        where = self.fill(place, disk)
        running = place.start(*where)
        wait_for(running, "the store cannot be written, work goes on as soon as it can")
        running.kill()
        running.communicate()
        disk.remount("size=64m")
        code, out, _ = place.run(*where)
        assert code == 0, out
        assert set(place.effects().values()) == {1}
        assert place.effects()["last"] == 1

    @FAULTS
    def test_a_plan_that_finds_no_room_is_refused_whole_and_may_be_given_again(self, place: Place, disk: Disk) -> None:
        where = ("--set", f"team.state_dir={disk.path / 'state'}")
        disk.remount("size=4m")
        assert place.run(*where)[0] == 0
        place.plan(**{f"t{n}": {"kind": "probe.echo", "payload": {"text": "x" * 6000}} for n in range(1000)})
        code, out, err = place.run(*where)
        assert (code, out) == (3, "")
        assert "store.db: there is no room left on the disk; make some" in err
        disk.remount("size=64m")
        code, out, err = place.run(*where)
        assert code == 0
        assert "1,000 done of 1,000 tasks" in out
        assert "from earlier on there also go on" not in err


class TestSignals:
    def test_a_drain_assigns_nothing_and_what_runs_ends_in_its_time_with_its_lease_kept(self, place: Place) -> None:
        place.write("team.toml", TEAM.replace("lease = 3", "lease = 0.6"))
        place.plan(
            **{f"t{n}": place.append(1.0) for n in range(4)}, **{f"n{n}": place.append(0.0, "t0") for n in range(3)}
        )
        running = place.start()
        until(lambda: len(place.runs()) == 4)
        running.terminate()
        code, out, err = ended(running)
        assert code == 143
        assert "draining: running tasks have 20 s to finish" in err
        assert "4 done of 7 tasks" in out
        assert sorted(place.runs()) == [(f"t{n}", 1) for n in range(4)]
        assert place.run()[0] == 0
        assert Counter(place.runs()) == Counter([(f"{kind}", 1) for kind in ("t0", "t1", "t2", "t3", "n0", "n1", "n2")])
        assert set(place.effects().values()) == {1}

    def test_what_does_not_end_in_the_grace_time_is_handed_back_and_runs_after_the_restart(self, place: Place) -> None:
        place.plan(**{f"t{n}": place.append(1.5) for n in range(4)})
        running = place.start("--set", "team.grace=0.2")
        until(lambda: len(place.runs()) == 4)
        running.terminate()
        code, out, _ = ended(running)
        assert code == 143
        assert "handed back: the worker drains" in out
        assert place.run()[0] == 0
        assert sorted(place.runs()) == sorted([(f"t{n}", attempt) for n in range(4) for attempt in (1, 2)])
        assert set(place.effects().values()) == {1}

    def test_ctrl_c_twice_hands_back_at_once(self, place: Place) -> None:
        place.plan(a=place.append(30.0))
        running = place.start("--set", "team.grace=3600")
        until(place.runs)
        running.send_signal(signal.SIGINT)
        wait_for(running, "draining")
        running.send_signal(signal.SIGINT)
        code, out, err = ended(running)
        assert code == 130
        assert "stopping at once" in err
        assert "the same command goes on" in out

    @FAULTS
    def test_ctrl_c_twice_ends_also_where_a_task_will_not(self, place: Place) -> None:
        place.plan(a={"kind": "probe.deaf", "payload": 3600})
        running = place.start("--set", "team.grace=3600")
        assert running.stdout is not None
        for line in running.stdout:
            if "running" in line:
                break
        running.send_signal(signal.SIGINT)
        wait_for(running, "draining")
        running.send_signal(signal.SIGINT)
        assert ended(running)[0] == 130

    def test_a_plan_that_comes_while_the_team_drains_is_kept_for_the_next_time(self, place: Place) -> None:
        place.plan(a=place.append(1.0))
        place.write("late.json", {"name": "late", "tasks": {"b": place.append(0.0)}})
        running = place.start()
        until(place.runs)
        running.terminate()
        wait_for(running, "draining")
        code, _, err = place.aats("submit", "late.json")
        assert code == 0, err
        assert ended(running)[1].count("done of 1 task") == 1
        assert place.effects() == {"a": 1}
        serving = place.begin([AATS, "run", "team.toml"])
        until(lambda: place.effects() == {"a": 1, "b": 1})
        serving.terminate()
        assert ended(serving)[0] == 0


def test_two_plans_share_the_workers_fairly(place: Place) -> None:
    for name in ("one", "two"):
        tasks = {f"t{n}": {"kind": "probe.sleep", "payload": 0.01} for n in range(40)}
        place.write(f"{name}.json", {"name": name, "tasks": tasks})
    running = place.begin([AATS, "run", "team.toml", "--plan", "one.json", "--plan", "two.json", "--json"])
    code, out, _ = ended(running)
    ends = [line["plan"].partition("-")[0] for line in map(json.loads, out.splitlines()) if line.get("state") == "done"]
    assert code == 0
    first = next(n for n in range(len(ends)) if max(Counter(ends[: n + 1]).values()) == 40)
    assert min(Counter(ends[: first + 1]).values()) >= 25


@FAULTS
@pytest.mark.timeout(180)
def test_a_kill_in_the_middle_of_a_submission_makes_no_second_plan_and_loses_none(place: Place) -> None:
    seed = int(os.environ.get("AATS_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    randomness = random.Random(seed)
    place.plan(
        **{f"t{n}": {"kind": "probe.echo", "payload": {"text": "x" * 500}} for n in range(1500)}, a=place.append(0)
    )
    opened = place.path / ".aats" / "runs"
    for _ in range(6):
        running = place.start()
        until(lambda running=running: running.poll() is not None or any(opened.glob("*.json")))
        time.sleep(randomness.uniform(0.0, 0.15))
        running.kill()
        running.communicate()
    code, out, err = place.run()
    assert code == 0, f"seed {seed}: {err}"
    assert "1,501 done of 1,501 tasks" in out, f"seed {seed}"
    assert "from earlier on there also go on" not in err, f"seed {seed}"
    assert place.effects() == {"a": 1}, f"seed {seed}"


@pytest.mark.parametrize(
    "victims",
    [[PROJECT_MANAGER], [TASK_SCHEDULER], ["probe", PROJECT_MANAGER, TASK_SCHEDULER]],
    ids=["project-manager", "task-scheduler", "all"],
)
def test_agents_that_crash_again_and_again_lose_no_task_and_do_no_effect_twice(
    place: Place, victims: list[str]
) -> None:
    seed = int(os.environ.get("AATS_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    randomness = random.Random(seed)
    restarts = "restarts = { limit = 1000, window = 0.001, backoff = 0.001 }"
    sections = [f"[agents.{name}]\n{restarts}" for name in (PROJECT_MANAGER, TASK_SCHEDULER)]
    place.write("team.toml", "\n".join([TEAM.replace("lease = 3", "lease = 0.9"), restarts, *sections]))

    async def crash(team: Team, plan: str) -> PlanDetail:
        for crashes in itertools.count():
            detail = await team.operations.plan(plan)
            if detail.plan.state is not PlanState.ACTIVE:
                return detail
            host = team._runtime.hosts[randomness.choice(victims)]
            if crashes < 10 and host.replicas and host.replicas[0].started:
                host.crashed(host.replicas[0], RuntimeError("it crashed"))
            await asyncio.sleep(randomness.uniform(0.0, 0.1))
        raise AssertionError

    async def main() -> PlanDetail:
        async with Team(load_team_file(place.path / "team.toml", environ={})) as team, asyncio.timeout(60):
            tasks = [
                Task(
                    f"t{n}", "probe.append", {"path": str(place.ledger), "pause": 0.005}, needs=(f"t{n - 9}",)[: n > 8]
                )
                for n in range(150)
            ]
            return await crash(team, (await team.operations.submit(Plan("p", tuple(tasks)))).id)

    detail = asyncio.run(main())
    assert detail.plan.state is PlanState.DONE, f"seed {seed}"
    assert set(place.effects().values()) == {1}, f"seed {seed}"
    assert len(place.effects()) == 150, f"seed {seed}"


def layout(path: Path, version: int) -> int:
    """Set the version of a store's layout and return what it was."""
    import apsw

    with apsw.Connection(str(path)) as connection:
        before = int(connection.pragma("user_version"))
        connection.pragma("user_version", version)
    connection.close()
    return before
