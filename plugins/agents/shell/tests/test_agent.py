from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aats_core.clock import VirtualClock
from aats_core.errors import InvalidPayload, TaskFailed
from aats_core.secrets import remember

Run = Callable[..., Any]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestCommand:
    def test_a_list_of_arguments_is_run_without_a_shell(self, run: Run) -> None:
        output = run(["printf", "%s|", "a b", "$HOME", "*"])
        assert output["stdout"] == "a b|$HOME|*|"

    def test_a_line_is_run_by_the_shell(self, run: Run) -> None:
        output = run("x=1; echo $((x + 1)) | tr 2 3; echo oops >&2")
        seconds = output.pop("seconds")
        assert output == {
            "code": 0,
            "stdout": "3",
            "stderr": "oops",
            "stdout_truncated": False,
            "stderr_truncated": False,
        }
        assert seconds > 0

    def test_another_shell_can_be_set(self, run: Run) -> None:
        assert run("echo ${BASH_VERSION:+bash}", settings={"shell": "/bin/bash"})["stdout"] == "bash"

    def test_it_reads_its_standard_input(self, run: Run) -> None:
        assert run(["cat"], stdin="grüße\n" * 3)["stdout"] == "grüße\ngrüße\ngrüße"

    def test_without_standard_input_it_reads_an_end_at_once(self, run: Run) -> None:
        assert run(["cat"])["stdout"] == ""

    def test_a_large_input_reaches_it_whole(self, run: Run) -> None:
        assert run(["wc", "-c"], stdin="x" * 5_000_000)["stdout"].strip() == "5000000"

    def test_it_need_not_read_its_input(self, run: Run) -> None:
        assert run(["true"], stdin="x" * 5_000_000)["code"] == 0

    def test_trailing_line_ends_are_taken_off_so_that_templates_get_the_bare_text(self, run: Run) -> None:
        assert run("echo; echo one; echo; echo")["stdout"] == "\none"

    def test_bytes_that_are_not_utf8_are_replaced(self, run: Run) -> None:
        assert run(["printf", r"a\377b\303"])["stdout"] == "a\ufffdb\ufffd"


class TestEnvironment:
    def test_it_gets_the_teams_environment_and_what_is_added(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FROM_TEAM", "team")
        monkeypatch.setenv("OVER", "team")
        output = run(
            "echo $FROM_TEAM $FROM_SETTINGS $OVER $FROM_TASK",
            env={"FROM_TASK": "task", "OVER": "task"},
            settings={"env": {"FROM_SETTINGS": "settings", "OVER": "settings"}},
        )
        assert output["stdout"] == "team settings task task"

    def test_it_is_told_which_task_it_is(self, run: Run) -> None:
        line = "echo $AATS_TASK_ID $AATS_PLAN $AATS_ATTEMPT"
        assert run(line, env={"AATS_ATTEMPT": "99"})["stdout"] == "plan/task plan 1"

    def test_what_overrides_the_teams_settings_is_kept_from_it(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AATS_BROKER__PASSWORD", "hunter2")
        monkeypatch.setenv("AATS_TEST_POSTGRES_URL", "kept")
        output = run("env | grep -c hunter2; echo $AATS_TEST_POSTGRES_URL")
        assert output["stdout"] == "0\nkept"

    def test_it_runs_in_its_directory(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        assert run(["pwd"], cwd=str(tmp_path))["stdout"] == str(tmp_path)
        assert run(["pwd"], cwd="sub", settings={"cwd": tmp_path})["stdout"] == str(tmp_path / "sub")
        assert run(["pwd"], settings={"cwd": tmp_path})["stdout"] == str(tmp_path)
        assert run(["pwd"])["stdout"] == str(Path.cwd())

    def test_a_relative_program_is_found_in_its_directory(self, run: Run, tmp_path: Path) -> None:
        script = tmp_path / "hello.sh"
        script.write_text("#!/bin/sh\necho hello\n")
        script.chmod(0o755)
        assert run(["./hello.sh"], cwd=str(tmp_path))["stdout"] == "hello"


class TestFailure:
    def test_another_exit_code_fails_with_the_last_lines_of_stderr_and_keeps_the_output(self, run: Run) -> None:
        with pytest.raises(TaskFailed) as failed:
            run("echo result; seq 1 20 >&2; exit 3")
        assert str(failed.value).splitlines() == ["exit code 3", *map(str, range(11, 21))]
        assert failed.value.retry
        assert failed.value.output["code"] == 3
        assert failed.value.output["stdout"] == "result"

    def test_without_stderr_the_last_lines_of_stdout_say_why(self, run: Run) -> None:
        with pytest.raises(TaskFailed, match="exit code 1\nno luck"):
            run("echo no luck; exit 1")

    def test_an_exit_code_may_be_declared_well(self, run: Run) -> None:
        assert run(["sh", "-c", "exit 3"], ok_codes=[0, 3])["code"] == 3
        with pytest.raises(TaskFailed, match="exit code 0"):
            run(["true"], ok_codes=[1])

    @pytest.mark.parametrize(("line", "reason"), [("kill -9 $$", "SIGKILL"), ("kill -SEGV $$", "SIGSEGV")])
    def test_a_signal_fails_it_by_its_name(self, run: Run, line: str, reason: str) -> None:
        with pytest.raises(TaskFailed, match=f"ended by {reason}"):
            run(line)

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            ({"command": ["no-such-program"]}, "no-such-program: command not found in PATH, '/"),
            ({"command": ["/no/such"]}, "/no/such: No such file"),
            ({"command": ["/etc/passwd"]}, "/etc/passwd: Permission denied"),
            ({"command": ["true"], "cwd": "/no/such"}, "cwd /no/such: No such file"),
            ({"command": "true", "cwd": "/etc/passwd"}, "cwd /etc/passwd: Not a directory"),
            ({"command": ["a\0b"]}, "null"),
            ({"command": ["true"], "env": {"A=B": ""}}, "illegal environment variable name"),
            ({"command": ["true", "x" * 3_000_000]}, "true: Argument list too long"),
        ],
    )
    def test_what_cannot_be_started_is_not_tried_again(self, run: Run, payload: Any, reason: str) -> None:
        with pytest.raises(TaskFailed, match=reason) as failed:
            run(**payload)
        assert not failed.value.retry

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            ({"command": []}, "length >= 1"),
            ({"command": ""}, "length >= 1"),
            ({"command": [1]}, "str"),
            ({"command": ["true"], "timeout": 0}, "> 0"),
            ({"command": ["true"], "output": "xml"}, "xml"),
            ({"command": ["true"], "directory": "/"}, "directory"),
            ({"command": ["true"], "env": {"A": 1}}, "env"),
        ],
    )
    def test_a_payload_that_does_not_fit_is_refused(self, run: Run, payload: Any, reason: str) -> None:
        with pytest.raises(InvalidPayload, match=reason):
            run(**payload)

    def test_a_secret_of_the_settings_is_not_in_the_message(self, run: Run) -> None:
        remember("hunter2-of-shell")
        with pytest.raises(TaskFailed) as failed:
            run("echo token is $TOKEN >&2; exit 1", settings={"env": {"TOKEN": "hunter2-of-shell"}})
        assert "hunter2-of-shell" not in str(failed.value)


class TestOutput:
    def test_what_is_too_long_keeps_its_begin_and_its_end_and_counts_the_rest(self, run: Run) -> None:
        output = run("seq 1 100000; echo short >&2", settings={"max_output": 1024})
        written = sum(len(str(n)) + 1 for n in range(1, 100001))
        assert output["stdout"].startswith("1\n2\n3\n")
        assert output["stdout"].endswith("\n99999\n100000")
        assert f"\n[... {written - 1024} bytes left out ...]\n" in output["stdout"]
        assert len(output["stdout"]) < 1100
        assert (output["stdout_truncated"], output["stderr_truncated"]) == (True, False)

    def test_endless_output_blocks_nobody_and_does_not_grow(self, play: Run) -> None:
        async def scenario(runner: Any) -> None:
            with pytest.raises(TaskFailed) as failed:
                await runner.run("yes aaaaaaaa & yes bbbbbbbb >&2", timeout=0.5)
            for name in ("stdout", "stderr"):
                assert failed.value.output[f"{name}_truncated"]
                assert len(failed.value.output[name]) < 4200

        play(scenario, max_output=4096)

    @pytest.mark.parametrize(
        ("text", "parsed"),
        [
            ('{"wheel": "a.whl"}', {"wheel": "a.whl"}),
            ('building\n{"wheel": "a.whl"}', {"wheel": "a.whl"}),
            ('{\n  "wheel": "a.whl"\n}\n\n', {"wheel": "a.whl"}),
            ("[1]\n[2]", [2]),
            ("null", None),
        ],
    )
    def test_json_is_parsed_from_the_whole_or_its_last_line(self, run: Run, text: str, parsed: Any) -> None:
        assert run(["printf", "%s", text], output="json")["json"] == parsed

    def test_output_that_should_be_json_and_is_not_fails_the_task(self, run: Run) -> None:
        with pytest.raises(TaskFailed, match="neither its output nor the last line of that is JSON") as failed:
            run(["echo", "hello"], output="json")
        assert failed.value.output["stdout"] == "hello"

    def test_json_is_not_looked_for_unless_it_is_asked_for(self, run: Run) -> None:
        assert "json" not in run(["echo", "{}"])

    def test_the_last_line_is_reported_as_progress_at_most_once_a_second(self, play: Run, tmp_path: Path) -> None:
        async def scenario(runner: Any) -> None:
            clock = runner.context.clock = VirtualClock()
            line = r"echo one; printf 'tw\033[31mo\r'; touch written; read go; printf 'three\n\n'; touch again; read go"
            os.mkfifo(tmp_path / "go")
            task = asyncio.ensure_future(runner.run(f"exec < go; {line}", cwd=str(tmp_path)))
            go = await asyncio.to_thread(open, tmp_path / "go", "w")
            for name, said in (("written", ["two"]), ("again", ["two", "three"])):
                await asyncio.to_thread(until, (tmp_path / name).exists)
                assert runner.context.reports == said[:-1]
                await clock.advance(1)
                while runner.context.reports != said:
                    await asyncio.sleep(0.01)
                    await clock.advance(1)
                go.write("\n")
                go.flush()
            await task
            go.close()

        play(scenario)
