from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aats_core.errors import InvalidPayload, TaskFailed

Call = Callable[..., Any]


class TestCall:
    def test_a_function_gets_its_arguments_and_its_result_comes_back(self, call: Call) -> None:
        source = """
            def f(a, b=2, *, c):
                return {"sum": a + b + c, "nested": [None, 1.5, {"text": "grüße"}]}
        """
        assert call(source, 1, c=3) == {"sum": 6, "nested": [None, 1.5, {"text": "grüße"}]}

    def test_an_async_function_is_run_to_its_end(self, call: Call) -> None:
        source = """
            import asyncio
            async def f(text):
                await asyncio.sleep(0)
                return text.upper()
        """
        assert call(source, "text") == "TEXT"

    def test_a_method_of_a_class_is_a_function(self, call: Call) -> None:
        source = """
            class Build:
                @classmethod
                def run(cls, n): return [cls.__name__, n]
        """
        assert call(source, 1, function="jobs:Build.run") == ["Build", 1]

    def test_models_and_other_values_become_json(self, call: Call) -> None:
        source = """
            import dataclasses, datetime, pydantic
            @dataclasses.dataclass
            class Point: x: int
            class Person(pydantic.BaseModel): name: str
            def f(): return [Point(1), Person(name="n"), datetime.date(2026, 1, 2), {3: {4}}, b"hi"]
        """
        assert call(source) == [{"x": 1}, {"name": "n"}, "2026-01-02", {"3": [4]}, "aGk="]

    def test_a_module_in_a_package_is_found_on_the_path(self, call: Call, modules: Callable[..., Path]) -> None:
        modules(acme____init__="", acme__build="def f(): return __name__")
        assert call("", function="acme.build:f") == "acme.build"

    def test_it_runs_in_a_fresh_interpreter_of_the_same_environment(self, call: Call) -> None:
        source = """
            import os, sys
            def f(): return [sys.executable, "pytest" in sys.modules, os.getpid(), sys.argv[0].endswith("worker.py")]
        """
        executable, forked, pid, argv = call(source)
        assert (executable, forked, argv) == (sys.executable, False, True)
        assert pid != os.getpid()

    def test_files_beside_the_agents_own_are_not_importable(self, call: Call) -> None:
        source = "def f(): import pool"
        with pytest.raises(TaskFailed, match="ModuleNotFoundError"):
            call(source)

    def test_it_is_told_which_task_it_is_but_not_what_overrides_the_teams_settings(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AATS_BROKER__PASSWORD", "hunter2")
        monkeypatch.setenv("FROM_TEAM", "kept")
        source = """
            import os
            names = ["AATS_TASK_ID", "AATS_PLAN", "AATS_ATTEMPT", "FROM_TEAM", "AATS_BROKER__PASSWORD"]
            def f(): return [os.environ.get(name) for name in names]
        """
        assert call(source) == ["plan/task", "plan", "1", "kept", None]

    def test_what_it_prints_or_reads_does_not_disturb_the_answer(self, call: Call) -> None:
        source = """
            import os, sys, subprocess
            def f():
                print("x" * 1_000_000)
                sys.stdout.buffer.write(b"\\xff\\x00" * 100_000)
                print("to stderr", file=sys.stderr)
                subprocess.run(["echo", "from a child"])
                os.write(1, b"raw")
                return sys.stdin.read()
        """
        assert call(source) == ""

    def test_a_process_serves_one_call_after_the_other(self, play: Call) -> None:
        async def scenario(runner: Any) -> list[int]:
            return [await runner.call("jobs:f") for _ in range(3)]

        pids = play("import os\ndef f(): return os.getpid()", scenario)
        assert len(set(pids)) == 1

    def test_so_many_calls_run_at_once_as_there_are_replicas(self, play: Call, tmp_path: Path) -> None:
        source = """
            import os, pathlib, time
            def f(directory, n):
                directory = pathlib.Path(directory)
                (directory / f"{n}").touch()
                while len(list(directory.iterdir())) < 3: time.sleep(0.01)
                return os.getpid()
        """
        (tmp_path / "here").mkdir()

        async def scenario(runner: Any) -> list[int]:
            return await asyncio.gather(*(runner.call("jobs:f", str(tmp_path / "here"), n) for n in range(9)))

        assert len(set(play(source, scenario, replicas=3))) == 3


class TestRefused:
    @pytest.mark.parametrize(
        ("source", "function", "reason"),
        [
            ("", "nowhere:f", "there is no module 'nowhere'"),
            ("", "jobs.inner:f", "there is no module 'jobs.inner'"),
            ("", "jobs:g", "jobs:g: jobs has no g"),
            ("class A: pass", "jobs:A.g", "jobs has no A.g"),
            ("f = 1", "jobs:f", "jobs:f is a int, not a function"),
            ("def f(a): ...", "jobs:f", r"jobs:f\(a\) does not take these arguments: .*'a'"),
            ("def f(): return object()", "jobs:f", "JSON cannot carry: a value of type object"),
            ("def f(): a = []; a.append(a); return a", "jobs:f", "JSON cannot carry"),
            ("def f(): return 'x' * 2000", "jobs:f", "2002 bytes of JSON, more than the 1024"),
        ],
    )
    def test_what_another_attempt_would_not_mend_is_not_tried_again(
        self, call: Call, source: str, function: str, reason: str
    ) -> None:
        with pytest.raises(TaskFailed, match=reason) as failed:
            call(source, function=function, settings={"max_result": 1024})
        assert not failed.value.retry

    @pytest.mark.parametrize("function", ["jobs", "jobs:", ":f", "jobs:f()", "os:system; x", "a b:c", ""])
    def test_what_is_not_written_like_a_function_is_refused(self, call: Call, function: str) -> None:
        with pytest.raises(InvalidPayload, match=r"write package\.module:function"):
            call("", function=function)

    def test_an_unknown_field_is_refused(self, call: Call) -> None:
        with pytest.raises(InvalidPayload, match="timeout"):
            call("", timeout="soon")


class TestAllow:
    SOURCE = """
        from os import getcwd as elsewhere
        import os
        def f(): return "called"
        class A:
            def __init__(self): pass
    """

    @pytest.mark.parametrize("allow", [["jobs"], ["other", "jobs"]])
    def test_a_function_of_an_allowed_module_is_called(self, call: Call, allow: list[str]) -> None:
        assert call(self.SOURCE, settings={"allow": allow}) == "called"

    def test_a_module_within_an_allowed_one_is_allowed(self, call: Call, modules: Callable[..., Path]) -> None:
        modules(acme____init__="", acme__build="def f(): return 1", acme2="def f(): return 2")
        assert call("", function="acme.build:f", settings={"allow": ["acme"]}) == 1
        with pytest.raises(TaskFailed, match="'acme2'; allowed: acme"):
            call("", function="acme2:f", settings={"allow": ["acme"]})

    @pytest.mark.parametrize(
        "function", ["os:getcwd", "jobs:os.getcwd", "jobs:elsewhere", "jobs:A.__init__.__globals__.clear"]
    )
    def test_any_other_function_is_refused_also_by_way_of_an_allowed_module(self, call: Call, function: str) -> None:
        with pytest.raises(TaskFailed, match="is not allowed, being of module") as failed:
            call(self.SOURCE, function=function, settings={"allow": ["jobs"]})
        assert not failed.value.retry

    def test_a_module_that_is_not_allowed_is_not_even_imported(self, call: Call, tmp_path: Path) -> None:
        mark = tmp_path / "imported"
        with pytest.raises(TaskFailed, match="not allowed"):
            call(f"open({str(mark)!r}, 'w')", settings={"allow": ["acme"]})
        assert not mark.exists()

    def test_an_empty_list_allows_nothing(self, call: Call) -> None:
        with pytest.raises(TaskFailed, match="allowed: nothing"):
            call(self.SOURCE, settings={"allow": []})
