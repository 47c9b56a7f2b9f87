"""What `aats new` writes: each kind is written, linted, built, installed elsewhere, and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from aats_core.cli.failure import UsageError
from aats_core.cli.new import new, plan_package
from aats_core.plugins import PluginKind
from tests.test_plugin_layout import RULES, Plugin, Rule, has_the_same_files, has_the_same_pyproject

ROOT = Path(__file__).parents[1]
PARTS = (".", "brokers/memory", "stores/sqlite", "agents/project-manager", "agents/task-scheduler")
"""What a team needs at the least, and what the new plugins are installed beside."""

CLASSES = {
    PluginKind.AGENT: ("Registry", "Agent"),
    PluginKind.STORE: ("RegistryStore", "Store"),
    PluginKind.BROKER: ("RegistryBroker", "Broker"),
    PluginKind.INTEGRATION: ("Registry", "Integration"),
}


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output; it has to succeed."""
    answer = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=100
    )
    assert answer.returncode == 0, f"{' '.join(map(str, command))}\n{answer.stdout}"
    return answer.stdout


def name_of(kind: PluginKind) -> str:
    return f"acme{kind}-registry"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a new plugin of each kind."""
    directory = tmp_path_factory.mktemp("new")
    for kind in PluginKind:
        new(kind, name_of(kind), directory=directory)
    return directory


class Environment(NamedTuple):
    """A virtual environment, outside of this repository, with plugins of every kind installed by pip."""

    path: Path

    def aats(self, *arguments: str, cwd: Path) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return run(self.path / "bin" / "aats", *arguments, cwd=cwd, env=clean)


@pytest.fixture(scope="module")
def environment(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    pytest.importorskip("hatchling", reason="plugins are built with hatchling: pip install hatchling")
    wheels = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / part if part == "." else ROOT / "plugins" / part for part in PARTS]
    for source in [*sources, *(written / name_of(kind) for kind in PluginKind)]:
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=source)
    path = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", path, cwd=path)
    site = next(path.glob("lib/python*/site-packages"))
    lend_libraries(site)
    run(path / "bin" / "pip", "install", "-q", "--no-index", "--no-deps", *wheels.iterdir(), cwd=path)
    return Environment(path)


def lend_libraries(site: Path) -> None:
    """Make the libraries that are installed here importable there, but nothing of AATS."""
    for home in {Path(pytest.__file__).parents[1], *(Path(entry) for entry in sys.path if entry.endswith("-packages"))}:
        for entry in home.iterdir():
            mine = entry.name.lower().lstrip("_").startswith(("aats", "editable_", "pip", "setuptools"))
            if not mine and entry.suffix != ".pth" and not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)


class TestNames:
    @pytest.mark.parametrize("kind", PluginKind)
    def test_the_plugin_is_called_what_follows_the_first_dash(self, kind: PluginKind) -> None:
        package = plan_package(kind, "acme-registry")

        assert (package.distribution, package.module, package.plugin) == ("acme-registry", "acme_registry", "registry")
        assert package.class_name == CLASSES[kind][0]

    @pytest.mark.parametrize(
        ("name", "plugin", "class_name"),
        [
            ("registry", "registry", "Registry"),
            ("acme-object-cache", "object-cache", "ObjectCache"),
            ("aats-agent-metrics", "metrics", "Metrics"),
            ("acme-3d", "3d", "Acme3d"),
            ("acme-agent", "agent", "AcmeAgent"),
            ("acme-task-context", "task-context", "AcmeTaskContext"),
        ],
    )
    def test_names_that_would_clash_are_made_longer(self, name: str, plugin: str, class_name: str) -> None:
        package = plan_package(PluginKind.AGENT, name)

        assert (package.plugin, package.class_name) == (plugin, class_name)

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("", "small letters"),
            ("pytest", "there is a module pytest already"),
            ("dependency-injector", "there is a module dependency_injector already"),
            ("Registry", "small letters"),
            ("acme_registry", "small letters"),
            ("acme--registry", "small letters"),
            ("-acme", "small letters"),
            ("acme-", "small letters"),
            ("3acme", "small letters"),
            ("../acme", "small letters"),
            ("/tmp/acme", "small letters"),
            ("ac.me", "small letters"),
            ("acmé", "small letters"),
            ("acme\n", "small letters"),
            ("a" * 37, "up to 36"),
            ("class", "word of Python"),
            ("match", "word of Python"),
            ("asyncio", "module asyncio"),
            ("aats-core", "module aats_core"),
            ("tests", "module tests"),
            ("agent", "name of something"),
        ],
    )
    def test_a_bad_name_is_refused_with_the_reason_and_nothing_written(
        self, name: str, why: str, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match=why):
            new(PluginKind.AGENT, name, directory=tmp_path)

        assert list(tmp_path.iterdir()) == []


class TestWriting:
    def test_what_is_there_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "acme-registry").mkdir()

        with pytest.raises(UsageError, match="exists already"):
            new(PluginKind.AGENT, "acme-registry", directory=tmp_path)

        assert list((tmp_path / "acme-registry").iterdir()) == []

    def test_a_link_to_nowhere_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "acme-registry").symlink_to(tmp_path / "nowhere")

        with pytest.raises(UsageError, match="exists already"):
            new(PluginKind.AGENT, "acme-registry", directory=tmp_path)

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="missing is not a directory"):
            new(PluginKind.AGENT, "acme-registry", directory=tmp_path / "missing")

    def test_nothing_half_written_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(path: Path, *_: object, **__: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)

        with pytest.raises(UsageError, match="No space left"):
            new(PluginKind.AGENT, "acme-registry", directory=tmp_path)

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", PluginKind)
    def test_no_placeholder_is_left_and_no_file_too_many(self, kind: PluginKind, written: Path) -> None:
        files = [path for path in (written / name_of(kind)).rglob("*") if path.is_file()]

        assert {path.suffix for path in files} <= {".md", ".py", ".toml", ".typed", ".yaml"}
        assert not [path for path in files if "${" in path.read_text("utf-8") or "/module/" in str(path)]
        assert len((written / name_of(kind) / "pyproject.toml").read_text("utf-8").splitlines()) < 30


class TestLayout:
    """Outside of this repository a plugin has a pyproject.toml of its own, and an agent a plan to try it with."""

    @pytest.mark.parametrize("kind", PluginKind)
    @pytest.mark.parametrize(
        "rule", [rule for rule in RULES if rule is not has_the_same_pyproject], ids=lambda rule: rule.__name__
    )
    def test_it_is_laid_out_as_the_plugins_here(
        self, kind: PluginKind, rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new(kind, f"aats-{kind}-registry", directory=tmp_path)
        plugin = Plugin(kind, "registry", tmp_path / f"aats-{kind}-registry")
        for trial in ("team.toml", "plan.yaml") if rule is has_the_same_files else ():
            (plugin.path / trial).unlink(missing_ok=True)
        monkeypatch.syspath_prepend(plugin.path / "src")
        for name in [name for name in sys.modules if name.partition(".")[0] == plugin.module]:
            del sys.modules[name]  # that of the test before, which lay elsewhere

        assert list(rule(plugin)) == []


class TestLint:
    @pytest.mark.parametrize("kind", PluginKind)
    @pytest.mark.parametrize("config", [[], ["--config", str(ROOT / "pyproject.toml")]], ids=["by default", "as here"])
    def test_ruff_finds_nothing(self, config: list[str], kind: PluginKind, written: Path) -> None:
        run(sys.executable, "-m", "ruff", "check", "--no-cache", *config, ".", cwd=written / name_of(kind))

    def test_a_long_name_finds_room(self, tmp_path: Path) -> None:
        for kind in PluginKind:
            new(kind, f"{'a' * 17}-{kind[:5]}{'b' * 13}", directory=tmp_path)

        run(sys.executable, "-m", "ruff", "check", "--no-cache", "--extend-select", "E501", ".", cwd=tmp_path)

    def test_it_is_formatted(self, written: Path) -> None:
        run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=written)

    def test_mypy_finds_nothing(self, written: Path, tmp_path: Path) -> None:
        for kind in PluginKind:
            command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "src", "tests"]
            run(*command, cwd=written / name_of(kind))


class TestContract:
    def outcomes(self, package: Path, tmp_path: Path) -> dict[str, str]:
        """Run the package's own tests; returns by test what failed it, or an empty text."""
        report = tmp_path / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout=60",
            f"--junitxml={report}",
        ]
        env = {**os.environ, "PYTHONPATH": "src", "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis")}
        subprocess.run(command, cwd=package, env=env, stdout=subprocess.PIPE, check=False, timeout=100)
        cases = ET.parse(report).getroot().iter("testcase")
        return {
            case.get("name", ""): "".join(f"{bad.get('message')}\n{bad.text}" for bad in case if bad.tag != "skipped")
            for case in cases
        }

    def test_an_agent_keeps_its_contract_as_it_stands(self, written: Path, tmp_path: Path) -> None:
        found = self.outcomes(written / name_of(PluginKind.AGENT), tmp_path)

        assert found
        assert {name: text for name, text in found.items() if text} == {}

    @pytest.mark.parametrize("kind", [PluginKind.STORE, PluginKind.BROKER, PluginKind.INTEGRATION])
    def test_of_the_others_just_what_is_not_written_yet_fails(
        self, kind: PluginKind, written: Path, tmp_path: Path
    ) -> None:
        found = {name: text for name, text in self.outcomes(written / name_of(kind), tmp_path).items() if text}

        assert found
        assert {name: text for name, text in found.items() if "NotImplementedError: " not in text} == {}


class TestInstalled:
    def test_every_kind_is_listed(self, environment: Environment, tmp_path: Path) -> None:
        listed = json.loads(environment.aats("plugins", "--json", cwd=tmp_path))

        assert listed["problems"] == []
        ours = {(p["kind"], p["name"], p["target"]) for p in listed["plugins"] if p["distribution"].startswith("acme")}
        assert ours == {
            (kind, "registry", f"acme{kind}_registry:{class_name}") for kind, (class_name, _) in CLASSES.items()
        }

    def test_a_team_runs_a_plan_with_the_new_agent(
        self, environment: Environment, written: Path, tmp_path: Path
    ) -> None:
        package = written / name_of(PluginKind.AGENT)
        for file in ("team.toml", "plan.yaml"):
            (tmp_path / file).write_bytes((package / file).read_bytes())

        environment.aats("check", "team.toml", cwd=tmp_path)
        answer = environment.aats("run", "team.toml", "--plan", "plan.yaml", "--json", cwd=tmp_path)

        [outcome] = json.loads(answer.splitlines()[-1])["plans"]
        assert (outcome["state"], outcome["counts"]) == ("done", {"done": 2})
