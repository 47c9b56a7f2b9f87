"""`aats check`, `plugins`, `config` and `simulate`: what can be asked before a team runs."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

TEAM = """
    [team]
    name = "toys"
    [agents.toys]
    replicas = 2
    labels = { "odd key" = "a \\"quoted\\" word" }
    password = { env = "TOYS_PASSWORD" }
"""
PLAN = """
    name: chain
    inputs: {wait: 5}
    tasks:
      a: {kind: toy.nap, estimate: 3s}
      b: {kind: toy.nap, estimate: 5s, needs: [a]}
      c: {kind: toy.nap, estimate: 4s, needs: [a], deadline: 8s}
"""


@pytest.fixture
def ready(place: Any) -> Any:
    place.environ["TOYS_PASSWORD"] = "hunter2222"
    place.write("team.toml", TEAM)
    place.write("plan.yaml", PLAN)
    return place


class TestCheck:
    def test_a_good_file_is_a_row_for_each_section_and_exit_code_0(self, ready: Any) -> None:
        result = ready.aats("check", "team.toml")
        assert (result.returncode, result.stderr) == (0, "")
        rows = [line.split()[0] for line in result.stdout.splitlines()]
        assert rows[:3] == ["SECTION", "team", "broker"]
        assert {"stores.primary", "agents.toys", "agents.project-manager", "agents.task-scheduler"} <= set(rows)
        assert "replicas=2" in result.stdout
        assert not (ready.path / ".aats").exists()

    def test_servers_that_are_away_are_told_in_the_table_alone(self, ready: Any) -> None:
        ready.write(
            "team.toml",
            """
            [broker]
            plugin = "kafka"
            servers = ["127.0.0.1:9"]
            [stores.primary]
            plugin = "mongodb"
            url = "mongodb://ada:hunter2@127.0.0.1:9/"
            """,
        )
        result = ready.aats("check", "team.toml", "--timeout", "3")
        assert (result.returncode, result.stderr) == (3, "")
        rows = {line.split()[0]: line for line in result.stdout.splitlines()}
        for section in ("broker", "stores.primary"):
            assert re.search(r" down .*127\.0\.0\.1:9.*\[Errno 111\]", rows[section])
        assert "hunter2" not in result.stdout
        assert "Topology" not in result.stdout

    def test_a_file_that_is_wrong_is_exit_code_2_with_every_problem(self, ready: Any) -> None:
        ready.write("team.toml", "[agents.toys]\nreplicas = 0\n[agents.nobody]\n")
        result = ready.aats("check", "team.toml")
        assert result.returncode == 2
        assert "[agents.toys] replicas" in result.stderr
        assert "no agent plugin 'nobody' is installed" in result.stderr
        assert "Traceback" not in result.stderr

    def test_what_cannot_be_reached_is_exit_code_3(self, ready: Any) -> None:
        (ready.path / ".aats").write_text("in the way")
        result = ready.aats("check", "team.toml")
        assert result.returncode == 3
        assert " down " in result.stdout

    def test_as_json_it_holds_every_setting_and_no_secret(self, ready: Any) -> None:
        result = ready.aats("check", "team.toml", "--json", "--set", "agents.toys.replicas=3")
        [toys] = [row for row in json.loads(result.stdout)["rows"] if row["section"] == "agents.toys"]
        assert {"name": "replicas", "value": 3, "default": False} in toys["settings"]
        assert "hunter2222" not in result.stdout


class TestPlugins:
    def test_each_is_a_row(self, ready: Any) -> None:
        rows = [line.split() for line in ready.aats("plugins").stdout.splitlines()]
        assert rows[0] == ["KIND", "NAME", "DISTRIBUTION", "VERSION"]
        assert ["agent", "toys", "acme-toys", "1.0"] in rows

    def test_two_that_share_a_name_are_told_of(self, ready: Any) -> None:
        ready.write("rival-2.dist-info/METADATA", "Metadata-Version: 2.1\nName: rival\nVersion: 2\n")
        ready.write("rival-2.dist-info/entry_points.txt", "[aats.agents]\ntoys = rival:Toys\n")
        ready.environ["PYTHONPATH"] += f":{ready.path}"
        result = ready.aats("plugins")
        assert "agent plugin 'toys' is offered by acme-toys 1.0 and rival 2" in result.stderr
        assert json.loads(ready.aats("plugins", "--json").stdout)["problems"]


class TestConfig:
    def test_show_is_a_team_file_with_all_that_was_left_out(self, ready: Any) -> None:
        shown = ready.aats("config", "show", "team.toml", "--set", "team.grace=7").stdout
        content = tomllib.loads(shown)
        assert content["team"]["grace"] == 7
        assert content["broker"]["plugin"] == "memory"
        assert content["stores"]["primary"]["plugin"] == "sqlite"
        assert content["agents"]["toys"]["labels"] == {"odd key": 'a "quoted" word'}
        assert content["agents"]["toys"]["password"] == "**********"
        assert "replicas = 2\n" in shown
        assert 'plugin = "memory"  # default' in shown

    def test_as_json_it_is_the_same(self, ready: Any) -> None:
        shown = json.loads(ready.aats("config", "show", "team.toml", "--json").stdout)
        assert shown["agents.toys"]["replicas"] == 2
        assert shown["agents.toys"]["password"] == "**********"

    def test_schema_knows_the_plugins_that_are_installed(self, ready: Any) -> None:
        schema = json.loads(ready.aats("config", "schema").stdout)
        assert schema["title"] == "AATS team file"
        assert "agent.toys" in schema["$defs"]


class TestSimulate:
    def test_it_tells_how_long_it_takes_and_what_would_be_late(self, ready: Any) -> None:
        result = ready.aats("simulate", "plan.yaml", "--workers", "1", "--estimates", "known")
        facts = dict(line.split("  ", 1) for line in result.stdout.splitlines() if "  " in line[:20])
        assert (result.returncode, result.stderr) == (0, "")
        assert facts["Makespan"].strip() == "12.0 s, 0.0% over the lower bound"
        assert facts["Critical path"].strip() == "2 tasks: a → b"
        chart = [line for line in result.stdout.splitlines() if "█" in line]
        assert chart[0].startswith("a ")
        assert len(chart) == 3
        assert max(map(len, chart)) <= 80

    def test_as_json_it_has_the_figures_by_name(self, ready: Any) -> None:
        result = ready.aats("simulate", "plan.yaml", "--workers", "2", "--json")
        found = json.loads(result.stdout)
        assert found["makespan"] == found["lower_bound"] == 8.0
        assert found["utilisation"] == 0.75
        assert found["critical_path"] == ["a", "b"]
        assert found["missed_deadlines"] == []
        assert {task["name"] for task in found["tasks"]} == {"a", "b", "c"}

    def test_tasks_that_would_miss_their_deadline_are_named(self, ready: Any) -> None:
        ready.write(
            "late.yaml", "tasks: {a: {kind: k, estimate: 3s, deadline: 4s}, b: {kind: k, estimate: 3s, deadline: 4s}}"
        )
        found = json.loads(ready.aats("simulate", "late.yaml", "--workers", "1", "--json").stdout)
        assert len(found["missed_deadlines"]) == 1
        assert " late" in ready.aats("simulate", "late.yaml", "--workers", "1").stdout

    def test_a_trace_may_stand_for_the_plan(self, ready: Any) -> None:
        task = {"name": "t", "id": "t", "parents": [], "children": []}
        run = {"id": "t", "runtimeInSeconds": 7.5}
        trace = {
            "name": "traced",
            "schemaVersion": "1.5",
            "workflow": {"specification": {"tasks": [task]}, "execution": {"makespanInSeconds": 7.5, "tasks": [run]}},
        }
        Path(ready.path / "trace.json").write_text(json.dumps(trace))
        found = json.loads(ready.aats("simulate", "trace.json", "--workers", "4", "--json").stdout)
        assert found["makespan"] == 7.5

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((), "--workers"),
            (("--workers", "0"), "workers is 0"),
            (("--workers", "some"), "some"),
            (("--workers", "2", "--estimates", "odd"), "odd"),
            (("--workers", "2", "--scheduler", "toys"), "this plugin cannot simulate"),
            (("--workers", "2", "--scheduler", "nobody"), "no agent plugin 'nobody' is installed"),
            (("--workers", "2", "--input", "wait=soon"), "it must be JSON, like 5"),
        ],
    )
    def test_what_is_wrong_is_said(self, ready: Any, arguments: tuple[str, ...], says: str) -> None:
        result = ready.aats("simulate", "plan.yaml", *arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert says in result.stderr
