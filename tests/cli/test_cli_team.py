"""What the command line asks of a running team, and what it shows on a terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

TEAM = """
    [team]
    name = "toys"
    grace = 5
    [agents.toys]
    replicas = 2
"""
PLANS = {
    "quick.yaml": "tasks: {a: {kind: toy.nap}, b: {kind: toy.nap, needs: [a]}}",
    "breaks.yaml": """
        tasks: {bad: {kind: toy.fail, payload: {why: a broken wheel}}, after: {kind: toy.nap, needs: [bad]}}
    """,
    "long.yaml": "tasks: {nap: {kind: toy.nap, payload: {seconds: 60}}, end: {kind: toy.nap, needs: [nap]}}",
    "unfit.yaml": "tasks: {a: {kind: toy.nop}}",
}


@pytest.fixture(scope="module")
def served(make_place: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a place in which a team runs, with one plan that is done and one that failed."""
    place = make_place(tmp_path_factory.mktemp("served"))
    place.write("team.toml", TEAM)
    for name, text in PLANS.items():
        place.write(name, text)
    team = place.start("run", "team.toml", stderr=subprocess.DEVNULL)
    until((place.path / ".aats" / "aats.sock").exists)
    assert place.aats("submit", "quick.yaml", "--wait").returncode == 0
    assert place.aats("submit", "breaks.yaml", "--wait").returncode == 1
    yield place
    team.terminate()
    assert team.wait(30) == 0
    place.end()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def answer(place: Any, *arguments: str) -> Any:
    result = place.aats(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def state_of(place: Any, task: str) -> str:
    state: str = answer(place, "task", task)["record"]["state"]
    return state


class TestLists:
    def test_plans_newest_first(self, served: Any) -> None:
        result = served.aats("plans")
        head, *rows = [re.split(r"  +", line) for line in result.stdout.splitlines()]
        assert head[:3] == ["PLAN", "STATE", "TASKS"]
        names = [row[0].rpartition("-")[0] for row in rows]
        assert names.index("breaks") < names.index("quick")
        assert next(row for row in rows if row[0].startswith("breaks"))[1:4] == ["failed", "2/2", "1"]

    def test_plans_of_one_state(self, served: Any) -> None:
        assert {plan["name"] for plan in answer(served, "plans", "--state", "failed")} == {"breaks"}

    def test_json_leaves_no_field_out(self, served: Any) -> None:
        for plan in answer(served, "plans"):
            assert {"id", "name", "state", "priority", "deadline", "submitted", "ended", "counts"} <= plan.keys()

    def test_tasks_of_a_plan_by_name_in_the_order_of_its_file(self, served: Any) -> None:
        rows = [re.split(r"  +", line) for line in served.aats("tasks", "breaks").stdout.splitlines()]
        assert [row[1] for row in rows] == ["STATE", "failed", "skipped"]
        assert rows[1][-1] == "a broken wheel"

    def test_tasks_of_all_plans_in_one_state(self, served: Any) -> None:
        assert {task["state"] for task in answer(served, "tasks", "--state", "done")} == {"done"}

    def test_a_task_with_all_that_happened_to_it(self, served: Any) -> None:
        shown = served.aats("task", "breaks/bad").stdout
        assert re.search(r"^Task +breaks-\w+/bad$", shown, re.MULTILINE)
        assert re.search(r"^State +failed$", shown, re.MULTILINE)
        assert re.search(r"^Why +a broken wheel$", shown, re.MULTILINE)
        history = [line.split()[2] for line in shown.partition("TIME")[2].splitlines()[1:]]
        assert history[-1] == "failed"
        assert "running" in history

    def test_the_team_is_found_by_its_file_or_its_directory(self, served: Any, place: Any) -> None:
        for option in (("--team", served.path / "team.toml"), ("--state-dir", served.path / ".aats")):
            assert "quick" in place.aats("plans", *option).stdout

    def test_a_state_directory_set_in_the_environment_counts(self, served: Any, place: Any) -> None:
        place.write("team.toml", TEAM)
        place.environ["AATS_TEAM__STATE_DIR"] = str(served.path / ".aats")
        assert "quick" in place.aats("plans").stdout

    @pytest.mark.parametrize(
        "command", [("task", "quick/none"), ("tasks", "none"), ("cancel", "none"), ("retry", "none")]
    )
    def test_what_is_not_there_is_bad_input(self, served: Any, command: tuple[str, ...]) -> None:
        result = served.aats(*command)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("aats: there is no ")

    def test_a_pipe_that_is_closed_early_is_no_error(self, served: Any) -> None:
        script = f"set -o pipefail; {served.start('--version').args[0]} tasks | head -1"
        result = subprocess.run(
            ["bash", "-c", script], cwd=served.path, env=served.environ, text=True, capture_output=True, check=False
        )
        assert result.stdout.startswith("TASK ")
        assert result.stderr == ""


class TestStatus:
    def test_status_tells_the_health_of_every_part(self, served: Any) -> None:
        shown = served.aats("status").stdout
        assert re.search(r"^Team +toys$", shown, re.MULTILINE)
        assert re.search(r"^broker +ok", shown, re.MULTILINE)
        assert re.search(r"^stores.primary +ok", shown, re.MULTILINE)
        assert answer(served, "status")["draining"] is False

    def test_agents_tell_what_they_run(self, served: Any) -> None:
        shown = served.aats("agents").stdout
        assert re.search(r"^toys +running +2 .*toy.append, toy.fail, toy.nap", shown, re.MULTILINE)
        assert {agent["name"] for agent in answer(served, "agents")} >= {"toys", "project-manager", "task-scheduler"}

    def test_metrics_are_what_prometheus_reads(self, served: Any) -> None:
        text = served.aats("metrics").stdout
        assert 'aats_agent_up{agent="toys"} 1.0' in text
        assert 'aats_store_seconds_count{operation="write",store="primary"}' in text
        assert "# TYPE aats_broker_published_total counter" in text

    def test_check_says_that_the_state_directory_is_in_use(self, served: Any) -> None:
        result = served.aats("check", "team.toml")
        assert result.returncode == 0, result.stderr
        assert "is held by process" in result.stdout

    def test_another_run_there_is_refused_with_the_pid(self, served: Any) -> None:
        pid = answer(served, "status")["pid"]
        result = served.aats("run", "team.toml", "--plan", "quick.yaml")
        assert (result.returncode, result.stdout) == (3, "")
        assert f"is held by process {pid}" in result.stderr


class TestSubmit:
    def test_it_prints_the_plans_id(self, served: Any) -> None:
        plan = served.aats("submit", "quick.yaml").stdout.strip()
        assert re.fullmatch(r"quick-\w+", plan)
        until(lambda: answer(served, "plans", "--limit", "1")[0]["state"] == "done")
        assert answer(served, "plans", "--limit", "1")[0]["id"] == plan

    def test_waiting_shows_what_happens(self, served: Any) -> None:
        result = served.aats("submit", "breaks.yaml", "--wait")
        assert result.returncode == 1
        assert "✗ bad failed: a broken wheel\n    not run because of it: after\n" in result.stdout

    def test_a_plan_that_the_team_refuses_is_bad_input(self, served: Any) -> None:
        result = served.aats("submit", "unfit.yaml")
        assert (result.returncode, result.stdout) == (2, "")
        assert "toy.nop" in result.stderr

    def test_ctrl_c_ends_the_waiting_only(self, served: Any) -> None:
        process = served.start("submit", "long.yaml", "--wait", "--json")
        plan = json.loads(process.stdout.readline())["id"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert answer(served, "plans", "--state", "active")[0]["id"] == plan
        served.aats("cancel", plan)

    def test_the_end_of_the_team_ends_the_waiting_with_a_message(self, place: Any) -> None:
        place.write("team.toml", TEAM)
        place.write("long.yaml", PLANS["long.yaml"])
        team = place.start("run", "team.toml", stderr=subprocess.DEVNULL)
        until((place.path / ".aats" / "aats.sock").exists)
        waiting = place.start("submit", "long.yaml", "--wait", "--json")
        waiting.stdout.readline()
        team.kill()
        _, err = waiting.communicate(timeout=30)
        assert waiting.returncode == 3
        assert err == "aats: the team in .aats has stopped or was killed\n"


class TestDecisions:
    def test_cancel_retry_and_cancel_a_plan(self, served: Any) -> None:
        plan = served.aats("submit", "long.yaml").stdout.strip()
        until(lambda: state_of(served, f"{plan}/nap") == "running")
        result = served.aats("cancel", f"{plan}/nap", "--reason", "no time")
        assert result.stdout == f"{plan}/nap: cancelled\n"
        until(lambda: state_of(served, f"{plan}/nap") == "cancelled")
        assert "no time" in served.aats("task", f"{plan}/nap").stdout
        assert f"{plan}/nap: to run again" in served.aats("retry", plan).stdout
        until(lambda: state_of(served, f"{plan}/nap") == "running")
        assert set(answer(served, "cancel", plan)) == {f"{plan}/nap", f"{plan}/end"}
        until(lambda: answer(served, "plans", "--limit", "1")[0]["state"] == "cancelled")

    def test_a_task_that_waits_says_why(self, served: Any) -> None:
        plan = served.aats("submit", "long.yaml").stdout.strip()
        try:
            assert re.search(r"^Why +\S", served.aats("task", f"{plan}/end").stdout, re.MULTILINE)
        finally:
            served.aats("cancel", plan)

    def test_only_an_unknown_task_can_be_settled(self, served: Any) -> None:
        result = served.aats("settle", "quick/a", "done", "--output", '{"a": 1}')
        assert result.returncode == 2
        assert "is not a task in state unknown" in result.stderr

    def test_drain_stops_the_team(self, place: Any) -> None:
        place.write("team.toml", TEAM)
        team = place.start("run", "team.toml", stderr=subprocess.DEVNULL)
        until((place.path / ".aats" / "aats.sock").exists)
        assert answer(place, "drain") == {"draining": True}
        assert team.wait(30) == 0
        assert place.aats("status").returncode == 3


class TestReport:
    def test_it_writes_a_page(self, served: Any) -> None:
        result = served.aats("report", "breaks", "--html", "report.html")
        assert result.returncode == 0, result.stderr
        assert "a broken wheel" in (served.path / "report.html").read_text()


class TestTerminal:
    def run(self, place: Any, *arguments: str, typed: Sequence[tuple[bytes, bytes]] = ()) -> tuple[int, str]:
        """Run `aats` on a terminal of 80 columns, type keys each time a text has come, and return what was written."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(place.path)
            os.execve(place.start("--version").args[0], ["aats", *arguments], {**place.environ, "LINES": "24"})
        written, end, later = b"", time.monotonic() + 40, list(typed)
        while time.monotonic() < end:
            ready, _, _ = select.select([terminal], [], [], 0.5)
            try:
                read = os.read(terminal, 65536) if ready else None
            except OSError:
                break
            if read == b"":
                break
            written += read or b""
            if later and later[0][0] in written:
                os.write(terminal, later.pop(0)[1])
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()

    @pytest.fixture
    def ready(self, place: Any) -> Any:
        place.write("team.toml", TEAM)
        place.write("shows.yaml", "tasks: {nap: {kind: toy.nap, payload: {seconds: 0.8, says: [half way there]}}}")
        place.write("breaks.yaml", PLANS["breaks.yaml"])
        place.write("long.yaml", PLANS["long.yaml"])
        return place

    def test_a_bar_and_the_running_tasks_are_drawn_and_at_the_end_the_outcome(self, ready: Any) -> None:
        code, written = self.run(ready, "run", "team.toml", "--plan", "shows.yaml")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
        assert code == 0
        assert re.search(r"shows +[━╺╸]+ +0/1", plain)
        assert re.search(r"nap +toys +[\d.]+ m?s +half way there", plain)
        assert plain.rstrip().splitlines()[-1].startswith("✓ shows-")
        assert "\x1b[32m" in written
        assert "\x1b[?25h" in written.rpartition("\x1b[?25l")[2]  # the cursor is there again

    def test_failures_are_told_as_they_come(self, ready: Any) -> None:
        code, written = self.run(ready, "run", "team.toml", "--plan", "breaks.yaml", "--plan", "shows.yaml")
        assert code == 1
        assert re.search(r"✗ bad\S*  a broken wheel", written.partition("✓ shows-")[0])

    def test_no_color_is_respected(self, ready: Any) -> None:
        ready.environ["NO_COLOR"] = "1"
        _, written = self.run(ready, "run", "team.toml", "--plan", "breaks.yaml")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", written)
        assert "✗" in written

    def test_a_dumb_terminal_gets_plain_lines(self, ready: Any) -> None:
        ready.environ["TERM"] = "dumb"
        _, written = self.run(ready, "run", "team.toml", "--plan", "breaks.yaml")
        assert "\x1b" not in written
        assert "failed" in written

    def test_ctrl_c_drains_and_a_second_one_stops(self, ready: Any) -> None:
        keys = [(b"toys", b"\x03"), (b"draining", b"\x03")]
        code, written = self.run(ready, "run", "team.toml", "--plan", "long.yaml", typed=keys)
        assert code == 130
        assert "draining" in written
        assert "interrupted after" in written

    def test_a_table_is_cut_to_the_terminal(self, served: Any) -> None:
        _, written = self.run(served, "tasks")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
        assert max(len(line.rstrip("\r")) for line in plain.split("\n")) <= 80
        assert re.search(r"^breaks-\w+/bad ", plain, re.MULTILINE)
