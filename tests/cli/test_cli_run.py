"""`aats run`, as a user runs it: to the end, into failures, through kills and signals."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aats_core.cli.openruns import OpenRuns
from aats_core.cli.planfile import load_plan

TEAM = """
    [team]
    name = "toys"
    grace = 5
    [agents.toys]
    replicas = 4
"""
QUICK = """
    name: quick
    tasks:
      first: {kind: toy.nap, payload: {says: [half way]}}
      second: {kind: toy.nap, needs: [first]}
"""
BREAKS = """
    name: breaks
    tasks:
      good: {kind: toy.nap}
      bad: {kind: toy.fail, payload: {why: the wheel came off}, retries: {limit: 1, backoff: 0.01s}}
      after: {kind: toy.nap, needs: [bad]}
      later: {kind: toy.nap, needs: [after]}
"""
SLOW = """
    name: slow
    tasks:
      long: {kind: toy.append, payload: {file: "FILE", text: long, seconds: SECONDS}}
      end: {kind: toy.append, payload: {file: "FILE", text: end}, needs: [long]}
"""


@pytest.fixture
def ready(place: Any) -> Any:
    place.write("team.toml", TEAM)
    place.write("quick.yaml", QUICK)
    place.write("breaks.yaml", BREAKS)
    return place


def slow(place: Any, seconds: float) -> Path:
    """Write a plan whose first task takes so long, and return the file to which its tasks append."""
    file: Path = place.path / "file.txt"
    place.write("slow.yaml", SLOW.replace("FILE", str(file)).replace("SECONDS", str(seconds)))
    return file


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def plan_id(text: str) -> str:
    found = re.search(r"\b[a-z]+-[0-9a-z]{8,}\b", text)
    assert found is not None, text
    return found[0]


def wait_for_line(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return
    raise AssertionError(f"{wanted!r} is not in {''.join(seen)}")


class TestToTheEnd:
    def test_every_transition_is_a_line_and_the_exit_code_is_0(self, ready: Any) -> None:
        result = ready.aats("run", "team.toml", "--plan", "quick.yaml")
        assert (result.returncode, result.stderr) == (0, "")
        plan = plan_id(result.stdout)
        lines = [re.split(r"  +", line) for line in result.stdout.splitlines()]
        steps = [(task, state) for _, task, state, *_ in lines[1:-1]]
        assert lines[0][1] == f"{plan}: 2 tasks"
        assert [state for task, state in steps if task == f"{plan}/first"] == ["ready", "running", "running", "done"]
        assert [state for task, state in steps if task == f"{plan}/second"] == ["ready", "running", "done"]
        assert any(line[-1] == "half way" for line in lines)
        assert all(re.fullmatch(r"\d\d:\d\d:\d\d", line[0]) for line in lines[1:-1])
        assert (
            lines[-1] == [line]
            if (line := f"✓ {plan} done") is None
            else lines[-1][0].startswith(f"✓ {plan} done after")
        )

    def test_the_log_is_kept_in_the_state_directory(self, ready: Any) -> None:
        ready.aats("run", "team.toml", "--plan", "quick.yaml")
        kept = ready.path / ".aats" / "aats.log"
        messages = [entry["message"] for entry in events(kept.read_text())]
        assert any("team toys runs" in message for message in messages)
        assert messages[-1] == "team toys stopped"

    def test_a_failure_says_which_why_and_what_did_not_run(self, ready: Any) -> None:
        result = ready.aats("run", "team.toml", "--plan", "breaks.yaml")
        assert result.returncode == 1
        assert re.search(
            r"✗ breaks-\w+ failed after .*: 1 done, 1 failed, 2 skipped of 4 tasks\n"
            r"  ✗ bad failed in attempt 2: the wheel came off\n"
            r"    not run because of it: after, later\n",
            result.stdout,
        )

    def test_afterwards_its_tasks_are_read_from_the_store(self, ready: Any) -> None:
        ready.aats("run", "team.toml", "--plan", "breaks.yaml")
        tasks = ready.aats("tasks", "breaks", "--state", "failed")
        assert re.search(r"^breaks-\w+/bad +failed .*the wheel came off$", tasks.stdout, re.MULTILINE)
        assert re.search(r"^Why +the wheel came off$", ready.aats("task", "breaks/bad").stdout, re.MULTILINE)
        missing = ready.aats("task", "breaks/none")
        assert (missing.returncode, missing.stderr) == (
            2,
            "aats: there is no task 'breaks/none'; a task's id is PLAN/NAME\n",
        )

    def test_several_plans_each_have_their_outcome(self, ready: Any) -> None:
        result = ready.aats("run", "team.toml", "--plan", "quick.yaml", "--plan", "breaks.yaml")
        assert result.returncode == 1
        assert re.search(r"✓ quick-\w+ done", result.stdout)
        assert re.search(r"✗ breaks-\w+ failed", result.stdout)

    def test_json_is_a_line_for_each_event_and_one_for_the_outcome(self, ready: Any) -> None:
        result = ready.aats("run", "team.toml", "--plan", "breaks.yaml", "--json")
        plan, *tasks, summary = events(result.stdout)
        assert (result.returncode, summary["exit_code"]) == (1, 1)
        assert plan["type"] == "plan"
        assert {task["type"] for task in tasks} == {"task"}
        assert {"plan", "name", "state", "time", "reason", "attempt", "worker"} <= tasks[0].keys()
        assert summary["plans"][0]["failed"] == [
            {
                "task": "bad",
                "state": "failed",
                "attempts": 2,
                "reason": "the wheel came off",
                "not_run": ["after", "later"],
            }
        ]

    def test_the_end_of_a_plan_is_told_also_where_its_last_tasks_end_together(self, ready: Any) -> None:
        tasks = "".join(f"      t{number}: {{kind: toy.nap, needs: [first]}}\n" for number in range(8))
        ready.write("wide.yaml", f"    name: wide\n    tasks:\n      first: {{kind: toy.nap}}\n{tasks}")
        *_, last, summary = events(ready.aats("run", "team.toml", "--plan", "wide.yaml", "--json").stdout)
        assert (last["plan_state"], summary["exit_code"]) == ("done", 0)

    def test_an_input_takes_the_place_of_the_plans_own(self, ready: Any) -> None:
        ready.write(
            "inputs.yaml",
            """
            inputs: {who: nobody, seconds: 60}
            tasks:
              hello: {kind: toy.fail, payload: {why: "hello {{ inputs.who }}"}}
              nap: {kind: toy.nap, payload: {seconds: "{{ inputs.seconds }}"}}
            """,
        )
        result = ready.aats(
            "run", "team.toml", "--plan", "inputs.yaml", "--input", "who=1.10", "--input", "seconds=0"
        )  # fmt: skip
        assert "hello failed: hello 1.10" in result.stdout
        assert "1 done, 1 failed" in result.stdout

    def test_a_pager_that_stops_reading_does_not_stop_the_work(self, ready: Any) -> None:
        file = ready.path / "file.txt"
        append = f"{{kind: toy.append, payload: {{file: {file}, text: line}}}}"
        ready.write("many.yaml", "tasks:\n" + "".join(f"  task-{n}: {append}\n" for n in range(500)))
        process = ready.start("run", "team.toml", "--plan", "many.yaml")
        until(lambda: file.exists() and file.read_text().count("line") == 500)
        assert process.poll() is None
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert len(out) > 65536 + 4096  # what a pipe holds, and more
        assert "500 done of 500 tasks" in out

    def test_what_reads_the_output_may_go_away_and_the_work_is_still_done(self, ready: Any) -> None:
        file = slow(ready, 0.3)
        process = ready.start("run", "team.toml", "--plan", "slow.yaml")
        wait_for_line(process, "running")
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == 0
        assert file.read_text() == "long\nend\n"
        assert "Traceback" not in err


class TestBadInput:
    @pytest.mark.parametrize(
        ("team", "plan", "says"),
        [
            ("[agents.toys]\nreplicas = 0", QUICK, ["team.toml", "[agents.toys] replicas"]),
            ("[agents.nobody]", QUICK, ["[agents.nobody] plugin: no agent plugin 'nobody'", "pip install"]),
            ("[agents", QUICK, ["team.toml:1: not valid TOML"]),
            ("[agents.toys]", "tasks: {a: {kind: toy.nop}}", ["plan.yaml:", "toy.nop"]),
            (
                "[agents.toys]",
                "tasks: {a: {kind: toy.nap, needs: [b]}, b: {kind: toy.nap, needs: [a]}}",
                ["plan.yaml:"],
            ),
            ("[agents.toys]", "tasks: [", ["plan.yaml:"]),
            ("[agents.toys]", "", ["plan.yaml: is empty"]),
        ],
    )
    def test_a_team_file_or_plan_that_is_wrong_ends_it_before_anything_starts(
        self, place: Any, team: str, plan: str, says: list[str]
    ) -> None:
        place.write("team.toml", team)
        place.write("plan.yaml", plan)
        result = place.aats("run", "team.toml", "--plan", "plan.yaml")
        assert (result.returncode, result.stdout) == (2, "")
        assert all(text in result.stderr for text in says), result.stderr
        assert "Traceback" not in result.stderr
        assert not (place.path / ".aats").exists()

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("--plan", "quick.yaml", "--plan", "./quick.yaml"), "is given twice"),
            (("--plan", "quick.yaml", "--input", "novalue"), "--input novalue: write it as name=value"),
            (("--plan", "quick.yaml", "--input", "odd=1"), "inputs.odd: the plan has no such input"),
            (("--plan", "quick.yaml", "--set", "team.grace=soon"), "team.grace"),
            (("--plan", "quick.yaml", "--set", "nothing"), "nothing"),
        ],
    )
    def test_so_does_an_option_that_is_wrong(self, ready: Any, arguments: tuple[str, ...], says: str) -> None:
        result = ready.aats("run", "team.toml", *arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert says in result.stderr
        assert not (ready.path / ".aats").exists()

    def test_a_team_that_cannot_start_is_exit_code_3(self, ready: Any) -> None:
        (ready.path / ".aats").write_text("in the way")
        result = ready.aats("run", "team.toml", "--plan", "quick.yaml")
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr.startswith("aats: the team could not start: state directory ")

    def test_a_secret_is_in_no_message_and_in_no_log(self, ready: Any) -> None:
        ready.environ["TOYS_PASSWORD"] = "hunter2222"
        ready.write("team.toml", "[agents.toys]\npassword = { env = 'TOYS_PASSWORD' }")
        ready.write("tells.yaml", "tasks: {a: {kind: toy.fail, payload: {why: hunter2222}}}")
        assert ready.aats("run", "team.toml", "--plan", "tells.yaml").returncode == 1
        assert "hunter2222" not in (ready.path / ".aats" / "aats.log").read_text()
        shown = ready.aats("config", "show", "team.toml").stdout + ready.aats("check", "team.toml", "--json").stdout
        assert "password" in shown
        assert "hunter2222" not in shown


class TestGoingOn:
    def test_the_same_command_after_a_kill_goes_on_and_after_an_end_begins_anew(self, ready: Any) -> None:
        file = slow(ready, 1.5)
        command = ("run", "team.toml", "--plan", "slow.yaml")
        killed = ready.start(*command)
        wait_for_line(killed, "running")
        until(file.exists)
        killed.kill()
        killed.communicate()

        again = ready.aats(*command)
        plan = plan_id(again.stdout)
        assert again.returncode == 0
        assert f"slow.yaml: going on with {plan}" in again.stderr
        assert file.read_text() == "long\nend\n"

        anew = ready.aats(*command)
        assert anew.returncode == 0
        assert plan_id(anew.stdout) != plan
        assert file.read_text() == "long\nend\n" * 2

    def test_a_plan_that_ended_before_a_kill_could_be_told_of_is_only_told_of(self, ready: Any) -> None:
        command = ("run", "team.toml", "--plan", "quick.yaml", "--json")
        plan, *_, summary = events(ready.aats(*command).stdout)
        runs = OpenRuns(ready.path / ".aats")
        file = load_plan(ready.path / "quick.yaml")
        runs.begin(file)
        kept = ready.path / ".aats" / "runs" / f"{file.fingerprint}.json"
        kept.write_text(json.dumps({"key": plan["key"], "file": ""}))

        told = events(ready.aats(*command).stdout)
        assert [line["type"] for line in told] == ["plan", "summary"]
        assert told[-1]["plans"][0]["id"] == summary["plans"][0]["id"]
        assert not kept.exists()

    def test_a_plan_that_was_changed_is_another_and_the_old_one_goes_on_beside_it(self, ready: Any) -> None:
        file = slow(ready, 1.0)
        killed = ready.start("run", "team.toml", "--plan", "slow.yaml")
        wait_for_line(killed, "running")
        killed.kill()
        killed.communicate()
        slow(ready, 0.1)
        result = ready.aats("run", "team.toml", "--plan", "slow.yaml")
        assert result.returncode == 0
        assert "from earlier on there also go on: slow-" in result.stderr
        assert file.read_text().split().count("end") >= 1

    def test_again_cancels_what_was_interrupted_and_begins_anew(self, ready: Any) -> None:
        slow(ready, 60)
        killed = ready.start("run", "team.toml", "--plan", "slow.yaml")
        wait_for_line(killed, "running")
        killed.kill()
        killed.communicate()
        process = ready.start("run", "team.toml", "--plan", "slow.yaml", "--again", "--json", "--set", "team.grace=0")
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert first["type"] == "plan"

        served = ready.start("run", "team.toml", "--set", "team.grace=0")
        until((ready.path / ".aats" / "aats.sock").exists)
        states = {plan["id"]: plan["state"] for plan in json.loads(ready.aats("plans", "--json").stdout)}
        served.terminate()
        served.communicate(timeout=30)
        assert states.pop(first["id"]) == "active"
        assert list(states.values()) == ["cancelled"]

    def test_a_run_file_that_is_damaged_is_an_error_that_names_it(self, ready: Any) -> None:
        file = load_plan(ready.path / "quick.yaml")
        runs = ready.path / ".aats" / "runs"
        runs.mkdir(parents=True)
        (runs / f"{file.fingerprint}.json").write_text("{")
        result = ready.aats("run", "team.toml", "--plan", "quick.yaml")
        assert result.returncode == 3
        assert f"{file.fingerprint}.json cannot be read" in result.stderr
        assert "remove it to begin anew" in result.stderr


class TestSignals:
    def test_the_first_lets_running_tasks_finish_and_the_same_command_does_the_rest(self, ready: Any) -> None:
        file = slow(ready, 1.0)
        process = ready.start("run", "team.toml", "--plan", "slow.yaml")
        wait_for_line(process, "running")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "draining: running tasks have 5 s to finish; once more stops at once" in err
        assert re.search(r"… slow-\w+ interrupted after .*1 done of 2 tasks\n  the same command goes on", out)
        assert file.read_text() == "long\n"
        assert ready.aats("run", "team.toml", "--plan", "slow.yaml").returncode == 0
        assert file.read_text() == "long\nend\n"

    def test_the_second_stops_at_once(self, ready: Any) -> None:
        slow(ready, 60)
        process = ready.start("run", "team.toml", "--plan", "slow.yaml", "--set", "team.grace=50")
        wait_for_line(process, "running")
        process.send_signal(signal.SIGTERM)
        wait_for_text(process.stderr, "draining")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 143
        assert "stopping at once" in err
        assert "interrupted after" in out

    def test_a_team_without_plans_serves_until_it_is_stopped(self, ready: Any) -> None:
        process = ready.start("run", "team.toml")
        wait_for_text(process.stderr, "team toys runs, process")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "")
        assert "team toys stopped" in err

    def test_one_that_comes_while_the_team_starts_ends_it_cleanly(self, ready: Any) -> None:
        ready.write(
            "slow_start.py",
            """
            import asyncio
            from pathlib import Path
            from acme_toys import Toys

            class SlowStart(Toys):
                async def start(self) -> None:
                    Path("starting").touch()
                    await asyncio.sleep(60)
            """,
        )
        ready.write("acme_slow-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme-slow\nVersion: 1\n")
        ready.write("acme_slow-1.dist-info/entry_points.txt", "[aats.agents]\nslow = slow_start:SlowStart\n")
        ready.environ["PYTHONPATH"] += f"{os.pathsep}{ready.path}"
        ready.write("slow.toml", "[agents.slow]\n")
        process = ready.start("run", "slow.toml", "--plan", "quick.yaml")
        until((ready.path / "starting").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
        assert not (ready.path / ".aats" / "aats.sock").exists()


def wait_for_text(stream: Any, wanted: str) -> None:
    for line in stream:
        if wanted in line:
            return
    raise AssertionError(f"{wanted!r} did not come")


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
