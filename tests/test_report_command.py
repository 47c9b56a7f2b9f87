"""`aats report`, of a team that runs and of one that does not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aats_core.errors import InvalidRequest
from aats_core.plugins import Catalog
from aats_core.stored_plans import read_stored_plan
from aats_core.team_file import load_team_file

AATS = Path(sys.executable).with_name("aats")
TEAM = '[team]\nname = "toys"\n\n[agents.shell]\n'
PLAN = """
name: toys
tasks:
  build: { kind: shell.run, payload: { command: "exit 7" }, retries: { limit: 1, backoff: 0.01 } }
  pack: { kind: shell.run, needs: [build], payload: { command: "true" } }
"""


def aats(*arguments: str, cwd: Path) -> Any:
    return subprocess.run([AATS, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "team.toml").write_text(TEAM)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Run the team beside the test."""
    team = subprocess.Popen(
        [AATS, "run", "team.toml"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while aats("status", cwd=folder).returncode == 3:
            assert team.poll() is None
        yield
    finally:
        team.terminate()
        team.wait(timeout=30)


class TestStopped:
    def test_the_plan_is_read_from_the_store(self, folder: Path) -> None:
        assert aats("run", "team.toml", "--plan", "plan.yaml", cwd=folder).returncode == 1

        answer = aats("report", "toys", "--html", "out/report.html", "--json", cwd=folder)

        found = json.loads(answer.stdout)
        assert found["plan"]["state"] == "failed"
        assert [len(task["attempts"]) for task in found["tasks"]] == [2, 0]
        assert found["tasks"][1]["causes"] == ["build"]
        assert "exit code 7" in (folder / "out" / "report.html").read_text("utf-8")

    def test_reading_changes_nothing(self, folder: Path) -> None:
        aats("run", "team.toml", "--plan", "plan.yaml", cwd=folder)

        first = aats("report", "toys", "--json", cwd=folder)
        second = aats("report", "toys", "--json", cwd=folder)

        assert (first.returncode, first.stdout) == (0, second.stdout)

    def test_another_directory_names_the_team_file(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        aats("run", "team.toml", "--plan", "plan.yaml", cwd=folder)
        elsewhere = tmp_path_factory.mktemp("elsewhere")

        answer = aats("report", "toys", "--html", "report.html", "--team", str(folder / "team.toml"), cwd=elsewhere)

        assert answer.returncode == 0
        assert "1 task failed, 1 did not run" in answer.stdout
        assert (elsewhere / "report.html").is_file()

    def test_without_a_team_file_it_says_what_to_give(self, tmp_path: Path) -> None:
        answer = aats("report", "toys", "--json", cwd=tmp_path)

        assert (answer.returncode, "name its team file with --team" in answer.stderr) == (3, True)

    def test_a_team_that_never_ran_has_no_plans_and_leaves_no_trace(self, folder: Path) -> None:
        answer = aats("report", "toys", "--json", cwd=folder)

        assert (answer.returncode, "no team has run" in answer.stderr) == (2, True)
        assert not (folder / ".aats").exists()

    def test_a_plan_that_is_not_there_is_named(self, folder: Path) -> None:
        aats("run", "team.toml", "--plan", "plan.yaml", cwd=folder)

        answer = aats("report", "games", "--json", cwd=folder)

        assert (answer.returncode, "there is no plan 'games'" in answer.stderr) == (2, True)


class TestRunning:
    def test_the_plan_is_asked_of_the_team(self, folder: Path) -> None:
        with serving(folder):
            assert aats("submit", "plan.yaml", cwd=folder).returncode == 0
            answer = aats("report", "toys", "--json", "--html", "report.html", cwd=folder)

        assert json.loads(answer.stdout)["plan"]["name"] == "toys"
        assert "toys" in (folder / "report.html").read_text("utf-8")


class TestUse:
    def test_it_wants_to_know_what_to_write(self, folder: Path) -> None:
        answer = aats("report", "toys", cwd=folder)

        assert (answer.returncode, "--html FILE" in answer.stderr) == (2, True)

    def test_a_file_that_cannot_be_written_is_named(self, folder: Path) -> None:
        aats("run", "team.toml", "--plan", "plan.yaml", cwd=folder)

        answer = aats("report", "toys", "--html", "team.toml/report.html", cwd=folder)

        assert (answer.returncode, "--html team.toml/report.html: it cannot be written" in answer.stderr) == (2, True)


def test_another_project_manager_that_cannot_read_plans_says_so(parts: Catalog, tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(TEAM)
    (tmp_path / ".aats").mkdir()
    team_file = load_team_file(tmp_path / "team.toml", catalog=parts)

    with pytest.raises(InvalidRequest, match="ProjectManager cannot read plans"):
        asyncio.run(read_stored_plan(team_file, "toys"))
