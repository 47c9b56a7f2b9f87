from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aats_agent_shell import Shell
from pydantic import ValidationError

from aats_core.errors import TaskFailed

Run = Callable[..., Any]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory with a program `tool` that says who it is, and a copy of it elsewhere that says so too."""
    for place in ("bin", "evil"):
        program = tmp_path / place / "tool"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho {place}\n")
        program.chmod(0o755)
    return tmp_path


@pytest.fixture
def settings(tools: Path) -> dict[str, Any]:
    return {"allow": ["tool", "echo"], "env": {"PATH": f"{tools / 'bin'}:{os.environ['PATH']}"}}


class TestAllow:
    def test_an_allowed_name_runs(self, run: Run, settings: dict[str, Any]) -> None:
        assert run(["tool"], settings=settings)["stdout"] == "bin"
        assert run(["echo", "hello"], settings=settings)["stdout"] == "hello"

    def test_the_path_of_an_allowed_program_runs(self, run: Run, settings: dict[str, Any], tools: Path) -> None:
        assert run([str(tools / "bin" / "tool")], settings=settings)["stdout"] == "bin"

    def test_a_listed_path_runs(self, run: Run, tools: Path) -> None:
        program = str(tools / "evil" / "tool")
        assert run([program], settings={"allow": [program]})["stdout"] == "evil"

    def test_a_link_to_an_allowed_program_runs_that_program(
        self, run: Run, settings: dict[str, Any], tools: Path
    ) -> None:
        (tools / "links").mkdir()
        (tools / "links" / "tool").symlink_to(tools / "bin" / "tool")
        assert run([str(tools / "links" / "tool")], settings=settings)["stdout"] == "bin"

    @pytest.mark.parametrize("program", ["ls", "/bin/ls", "Tool", "tool ", ""])
    def test_any_other_program_is_refused_for_good(self, run: Run, settings: dict[str, Any], program: str) -> None:
        with pytest.raises(TaskFailed, match="is not allowed; the agent runs only: tool, echo") as failed:
            run([program], settings=settings)
        assert not failed.value.retry

    @pytest.mark.parametrize("program", ["evil/tool", "./tool", "../evil/tool", "bin/tool"])
    def test_a_relative_path_is_refused_even_where_the_name_is_allowed(
        self, run: Run, settings: dict[str, Any], tools: Path, program: str
    ) -> None:
        with pytest.raises(TaskFailed, match="is not allowed"):
            run([program], cwd=str(tools), settings=settings)

    def test_another_file_of_an_allowed_name_is_refused(self, run: Run, settings: dict[str, Any], tools: Path) -> None:
        with pytest.raises(TaskFailed, match="evil/tool is not allowed"):
            run([str(tools / "evil" / "tool")], settings=settings)

    def test_a_task_cannot_have_another_file_found_by_its_own_path(
        self, run: Run, settings: dict[str, Any], tools: Path
    ) -> None:
        assert run(["tool"], env={"PATH": f"{tools / 'evil'}:/bin"}, settings=settings)["stdout"] == "bin"

    def test_a_shell_line_is_refused_and_says_why(self, run: Run, settings: dict[str, Any]) -> None:
        with pytest.raises(TaskFailed, match=r"shell lines are not allowed.*list of arguments") as failed:
            run("tool", settings=settings)
        assert not failed.value.retry

    def test_an_allowed_program_that_is_missing_says_where_it_was_looked_for(self, run: Run) -> None:
        with pytest.raises(TaskFailed, match="missing is allowed but not found in the agent's PATH, /nowhere"):
            run(["missing"], settings={"allow": ["missing"], "env": {"PATH": "/nowhere"}})

    def test_an_empty_list_allows_nothing(self, run: Run) -> None:
        with pytest.raises(TaskFailed, match="echo is not allowed; the agent runs only: nothing"):
            run(["echo"], settings={"allow": []})

    @pytest.mark.parametrize("entry", ["./git", "bin/git", ""])
    def test_a_list_with_a_relative_path_is_not_valid(self, entry: str) -> None:
        with pytest.raises(ValidationError, match="absolute path"):
            Shell.Settings(allow=["ls", entry])
