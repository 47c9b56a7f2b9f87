"""The examples do what their README says, on a small project of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.services.brokers import BENCHES, Section

ROOT = Path(__file__).parents[1]
RELEASE = ROOT / "examples" / "release"
PLUGIN = ROOT / "examples" / "plugin"
AATS = Path(sys.executable).with_name("aats")

pytestmark = [
    pytest.mark.skipif("AATS_RELEASE_CHECK" in os.environ, reason="the release example runs these tests"),
    pytest.mark.timeout(300),
]

PROJECT = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"

        [project]
        name = "tiny"
        version = "1.2.3"
        description = "Adds numbers."
        readme = "README.md"
        license = "MIT"
        requires-python = ">=3.11"
        dependencies = ["msgspec"]
    """,
    "README.md": "# tiny\n",
    "tiny/__init__.py": '"""Adds numbers."""\n\n\ndef add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n',
    "tests/test_tiny.py": "from tiny import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n",
}


def write_project(path: Path, **changes: str) -> Path:
    """Write a small project that is fit for a release, but for the changes, named by `folder/file.py` as `file`."""
    for name, text in PROJECT.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = changes.get(file.stem, text).splitlines()
        file.write_text("\n".join(line.removeprefix("        ") for line in lines).lstrip() + "\n")
    return path


def python(*arguments: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def check(script: str, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Run one of the checks; returns its exit code, what it found and what it says to people."""
    answer = python(RELEASE / "checks" / f"{script}.py", *arguments)
    return answer.returncode, json.loads(answer.stdout or "{}"), answer.stderr


def git(tree: Path, *arguments: str) -> None:
    names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *names, *arguments], cwd=tree, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what the examples put into the temporary directory removed with the test's own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


class TestSnapshot:
    def test_of_a_repository_it_takes_what_is_not_ignored(self, project: Path) -> None:
        (project / ".gitignore").write_text("secret.txt\n")
        (project / "secret.txt").write_text("x")
        (project / "untracked.py").write_text("")
        (project / "gone.py").write_text("")
        git(project, "init")
        git(project, "add", ".")
        (project / "gone.py").unlink()

        code, found, _ = check("snapshot", project)

        copies = {str(p.relative_to(found["path"])) for p in Path(found["path"]).rglob("*") if p.is_file()}
        assert code == 0
        assert copies == {*PROJECT, ".gitignore", "untracked.py"}

    def test_of_any_other_tree_it_leaves_out_caches_and_environments(self, project: Path) -> None:
        for name in ("__pycache__/a.pyc", ".hidden/b", "mine/pyvenv.cfg", "mine/lib/c.py"):
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text("x")

        _, found, _ = check("snapshot", project)

        assert found["files"] == len(PROJECT)

    def test_a_tree_without_python_is_refused(self, tmp_path: Path) -> None:
        code, _, said = check("snapshot", tmp_path)

        assert (code, "no Python file" in said) == (2, True)

    def test_a_missing_tree_is_named(self, tmp_path: Path) -> None:
        code, _, said = check("snapshot", tmp_path / "missing")

        assert (code, "missing is not a directory" in said) == (2, True)


class TestChecks:
    def test_what_does_not_compile_is_named_with_its_line(self, project: Path) -> None:
        (project / "tiny" / "bad.py").write_text("x = 1\ny = (\n")

        code, found, said = check("compile_all", project)

        assert code == 1
        assert found["problems"] == ["tiny/bad.py:2: '(' was never closed"]
        assert "bad.py:2" in said

    def test_compiling_leaves_nothing_behind(self, project: Path) -> None:
        before = sorted(project.rglob("*"))

        assert check("compile_all", project)[0] == 0
        assert sorted(project.rglob("*")) == before

    def test_lint_finds_what_is_not_used(self, project: Path) -> None:
        (project / "tiny" / "bad.py").write_text("import os\n")

        code, found, _ = check("lint", project)

        assert (code, found["tool"]) == (1, "ruff")
        assert found["problems"][0].startswith("tiny/bad.py:1: F401")

    def test_lint_finds_that_without_ruff_too(self, project: Path) -> None:
        (project / "tiny" / "bad.py").write_text("import os\nimport sys\nprint(sys.argv is 'x')\n")
        (project / "tiny" / "worse.py").write_text("def f(:\n")
        code = """
import importlib.util, pathlib, sys
importlib.util.find_spec = lambda name: None
import lint
lint.main(pathlib.Path(sys.argv[1]))
"""
        answer = python("-c", code, project, env={"PYTHONPATH": str(RELEASE / "checks")})

        found = json.loads(answer.stdout)
        assert (answer.returncode, found["tool"]) == (1, "the standard library (ruff is not installed)")
        assert [problem.split(":")[:2] for problem in found["problems"]] == [
            ["tiny/bad.py", "3"],
            ["tiny/bad.py", "1"],
            ["tiny/worse.py", "1"],
        ]

    def test_the_tests_of_a_tree_are_run_and_counted(self, project: Path) -> None:
        code, found, _ = check("quick_tests", project, "30", "")

        assert (code, found["passed"], found["failed"], found["left"]) == (0, 1, 0, 0)

    def test_a_failed_test_is_named(self, project: Path) -> None:
        (project / "tests" / "test_bad.py").write_text("def test_bad():\n    assert False\n")

        code, found, said = check("quick_tests", project, "30", "-k bad")

        assert (code, found["failed"]) == (1, 1)
        assert "test_bad.py::test_bad" in said

    def test_what_there_is_no_time_for_is_told_and_fails_nothing(self, project: Path) -> None:
        code, found, _ = check("quick_tests", project, "0", "")

        assert (code, found["passed"], found["left"]) == (0, 0, 1)
        assert found["notes"] == ["1 more were not run, the 0 s were over"]

    def test_small_files_have_their_turn_first(self, project: Path) -> None:
        slow = "import time\n\n\ndef test_slow():\n    time.sleep(1)\n\n\ndef test_late():\n    pass\n"
        (project / "tests" / "test_a.py").write_text(slow + "# " + "long " * 100)

        _, found, _ = check("quick_tests", project, "0.9", "")

        assert (found["passed"], found["left"]) == (2, 1)

    def test_a_tree_without_tests_passes(self, project: Path) -> None:
        (project / "tests" / "test_tiny.py").unlink()

        code, found, _ = check("quick_tests", project, "30", "")

        assert (code, found["summary"]) == (0, "the tree has no tests")

    def test_tests_that_cannot_be_collected_fail(self, project: Path) -> None:
        (project / "tests" / "test_bad.py").write_text("import nothing_of_that_name\n")

        assert check("quick_tests", project, "30", "")[0] == 1

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("key = '" + "AKIA" + "IOSFODNN7EXAMPLE'", "an AWS access key"),
            ("t = '" + "ghp_" + "a1" * 18 + "'", "a GitHub token"),
            ("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ", "a private key"),
            ("postgres://app:" + "Tr0ub4dor3horse@db.acme.com/main", "a password in a URL"),
        ],
    )
    def test_secrets_are_found(self, line: str, kind: str, project: Path) -> None:
        (project / "tiny" / "config.py").write_text(f"\n{line}\n")

        code, found, _ = check("find_secrets", project)

        assert (code, found["problems"][0]) == (1, f"tiny/config.py:2: {kind}")
        assert line[-12:-1] not in json.dumps(found)

    @pytest.mark.parametrize(
        "line",
        [
            "postgres://app:password@localhost/main",
            "postgres://app:Tr0ub4dor3horse@db.example/main",
            "'" + "AKIA" + "IOSFODNN7EXAMPLE'  # allow-secret",
            "no secret at all",
        ],
    )
    def test_what_only_looks_like_one_is_not(self, line: str, project: Path) -> None:
        (project / "tiny" / "config.py").write_text(f"{line}\n")

        assert check("find_secrets", project)[0] == 0

    def test_large_files_and_wheels_are_named(self, project: Path) -> None:
        (project / "large.bin").write_bytes(b"x" * 20_000)
        wheel = project.parent / "tiny.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("x", b"x" * 5000)

        assert check("check_sizes", project, wheel, "1", "1")[0] == 0
        code, found, _ = check("check_sizes", project, wheel, "0.001", "0.01")

        assert code == 1
        assert [problem.split(":")[0] for problem in found["problems"]] == ["large.bin", "tiny.whl"]

    def test_the_changelog_begins_after_the_last_tag(self, project: Path, tmp_path: Path) -> None:
        draft = tmp_path / "out" / "changelog.md"
        git(project, "init")
        for subject in ("Begin", "Add numbers", "Subtract them | too"):
            git(project, "commit", "--allow-empty", "-m", subject)
            if subject == "Begin":
                git(project, "tag", "v1.0")

        code, found, _ = check("changelog", project, draft)

        assert (code, found["summary"]) == (0, "2 commits since v1.0")
        text = draft.read_text()
        assert ("Add numbers" in text, "Subtract them | too" in text, "Begin" in text) == (True, True, False)

    def test_without_a_repository_there_is_no_changelog(self, tmp_path: Path) -> None:
        assert check("changelog", tmp_path, tmp_path / "changelog.md")[1]["file"] == ""


class TestFunctions:
    def call(self, code: str) -> Any:
        return python("-c", code, cwd=RELEASE / "functions", env={"PYTHONDONTWRITEBYTECODE": "1"})

    def wheel(self, tmp_path: Path, metadata: str) -> Path:
        path = tmp_path / "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tiny-1.0.dist-info/METADATA", metadata)
        return path

    def test_poor_metadata_is_refused_with_all_that_is_missing(self, tmp_path: Path) -> None:
        wheel = self.wheel(tmp_path, "Metadata-Version: 2.1\nName: tiny\nVersion: one\n\n")

        answer = self.call(f"import packaging_checks as p; p.check_metadata({str(wheel)!r})")

        for missing in ("version 'one'", "summary", "licence", "readme", "which Python"):
            assert missing in answer.stderr

    def test_a_licence_that_asks_for_more_is_refused(self, tmp_path: Path) -> None:
        code = """
import packaging_checks as p
p.distribution = lambda name: type("D", (), {"metadata": p.HeaderParser().parsestr("License: AGPL-3.0\\n\\n")})
p.check_licences(%r)
"""
        wheel = self.wheel(tmp_path, "Name: tiny\nVersion: 1.0\nRequires-Dist: other>=2; python_version>'3'\n\n")

        assert "other: its licence is AGPL-3.0" in self.call(code % str(wheel)).stderr

    def test_the_report_holds_text_as_text(self, tmp_path: Path) -> None:
        code = f"""
import release_report
found = {{"summary": "<b>1 | problem</b>", "problems": ["<script>"], "notes": []}}
print(release_report.write_report(".", {str(tmp_path)!r}, "", None, {{
    "lint": ["failed", "exit code 1", {{"stdout": __import__("json").dumps(found)}}],
    "build": ["skipped", "needs lint", None],
    "odd": ["failed", "killed\\nby a signal", {{"stdout": "no json"}}],
}})["verdict"])
"""
        answer = self.call(code)

        assert answer.stdout.strip() == "Not fit for a release; failed: lint, odd; not made: build."
        page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert "| lint | **failed** | <b>1 \\| problem</b> |" in text
        assert "killed" in text


class TestRelease:
    def run(self, project: Path, tmp_path: Path, broker: Section | None = None) -> tuple[int, dict[str, Any], str]:
        """Run the whole example on a project; returns exit code, outcome, and the report."""
        report = tmp_path / "report"
        inputs = {"source": project, "report": report, "python": sys.executable}
        answer = subprocess.run(
            [AATS, "run", RELEASE / "team.toml", "--plan", RELEASE / "plan.yaml", "--json"]
            + [word for name, value in inputs.items() for word in ("--input", f"{name}={value}")]
            + ["--set", f"team.state_dir={tmp_path / 'state'}"]
            + [word for name, value in (broker or {}).items() for word in ("--set", f"broker.{name}={value}")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert answer.stdout, answer.stderr
        [outcome] = json.loads(answer.stdout.splitlines()[-1])["plans"]
        return answer.returncode, outcome, (report / "report.md").read_text()

    def test_a_good_project_is_fit_for_a_release(self, project: Path, tmp_path: Path) -> None:
        code, outcome, report = self.run(project, tmp_path)

        assert (code, outcome["state"], outcome["counts"]) == (0, "done", {"done": 11, "skipped": 1})
        assert "# Release report: tiny 1.2.3" in report
        assert "Fit for a release: all 10 checks passed." in report
        built = sorted(path.name for path in (tmp_path / "report" / "dist").iterdir())
        assert built == ["tiny-1.2.3-py3-none-any.whl", "tiny-1.2.3.tar.gz"]
        assert not list(project.rglob("__pycache__"))

    @pytest.mark.parametrize("name", BENCHES)
    def test_another_broker_changes_nothing(self, name: str, service: Any, project: Path, tmp_path: Path) -> None:
        broker = BENCHES[name].section(service(BENCHES[name].server).url)

        code, outcome, report = self.run(project, tmp_path, broker)

        assert (code, outcome["state"], outcome["counts"]) == (0, "done", {"done": 11, "skipped": 1})
        assert "Fit for a release: all 10 checks passed." in report

    def test_a_bad_project_is_not_and_the_run_says_why_and_what_did_not_run(self, tmp_path: Path) -> None:
        bad = write_project(tmp_path / "bad", __init__="def f(:\n")

        code, outcome, report = self.run(bad, tmp_path)

        assert (code, outcome["state"]) == (1, "failed")
        assert {"compile", "lint"} <= {task["task"] for task in outcome["failed"]}
        assert {"tests", "build", "metadata"} <= {task["task"] for task in outcome["not_run"]}
        assert "Not fit for a release; failed: compile, lint" in report
        assert "tiny/__init__.py:1: invalid syntax" in report


class TestPlugin:
    @pytest.fixture
    def installed(self, tmp_path: Path) -> dict[str, str]:
        """An environment in which the example's wheel can be imported, as after `pip install --target`."""
        pytest.importorskip("hatchling", reason="plugins are built with hatchling: pip install hatchling")
        assert python("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist", cwd=PLUGIN).returncode == 0
        [wheel] = (tmp_path / "dist").iterdir()
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        return {"PYTHONPATH": str(tmp_path / "site")}

    def test_its_own_tests_pass(self, installed: dict[str, str], tmp_path: Path) -> None:
        answer = python("-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests", env=installed)

        assert answer.returncode == 0, answer.stdout

    def test_its_plan_uploads_a_file_once(self, installed: dict[str, str], tmp_path: Path) -> None:
        command = [AATS, "run", PLUGIN / "team.toml", "--plan", PLUGIN / "plan.yaml", "--json"]
        command += ["--set", f"team.state_dir={tmp_path / 'state'}"]
        env = {**os.environ, **installed}

        answer = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)

        assert answer.returncode == 0, answer.stderr
        assert [path.name for path in (tmp_path / ".aats" / "registry").iterdir()] == ["acme-notes-1.0.txt"]
