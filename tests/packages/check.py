"""Checks the distributions as a stranger gets them: every wheel built, installed with plain pip, and put to use.

`nox -s packages` runs it. Words after it choose some of the environments by a part of their name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TIMEOUT = 600
"""Seconds that a command may take; only pip, on a slow line, comes near it."""

TEAM = """
[team]
name = "quick-start"

[agents.shell]
replicas = 2

[agents.python]
"""

PLAN = """
name: quick-start
tasks:
  write:
    kind: shell.run
    payload: { command: [python, -c, "print('from a shell task')"] }
  join:
    kind: python.call
    needs: [write]
    payload:
      function: textwrap:shorten
      args: ["{{ tasks.write.output.stdout }}", 40]
  keep:
    kind: shell.run
    needs: [join]
    payload: { command: 'echo "$TEXT" > kept.txt', env: { TEXT: "{{ tasks.join.output }}" } }
"""


class Trouble(Exception):
    """A check failed; says what was seen."""


class Project(NamedTuple):
    """A distribution of this repository; `kind` and `plugin` are empty for the kernel."""

    name: str
    path: Path
    package: Path
    kind: str = ""
    plugin: str = ""


def projects() -> Iterator[Project]:
    """Yield the kernel and every plugin."""
    yield Project("aats-core", ROOT, ROOT / "aats_core")
    for source in sorted(ROOT.glob("plugins/*/*/pyproject.toml")):
        project = tomllib.loads(source.read_text())["project"]
        ((group, points),) = project["entry-points"].items()
        package = source.parent / "src" / project["name"].replace("-", "_")
        (plugin,) = points
        yield Project(project["name"], source.parent, package, group.removeprefix("aats.").removesuffix("s"), plugin)


def run(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; raises `Trouble` with its output where its exit code is another."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{' '.join(map(str, command))}: no end after {TIMEOUT} s") from error
    if done.returncode != code:
        said = f"{done.stdout}{done.stderr}".strip()
        raise Trouble(f"{' '.join(map(str, command))}: exit code {done.returncode}, not {code}\n{said}")
    return done


def expect(text: str, *parts: str) -> None:
    """Raise `Trouble` where a text lacks one of those parts."""
    for part in parts:
        if part not in text:
            raise Trouble(f"{part!r} is missing in:\n{text.strip()}")


class Environment:
    """A fresh environment with nothing in it but what pip installs from the directory of wheels."""

    def __init__(self, path: Path, wheels: Path) -> None:
        self.path = path
        self.work = path / "work"
        self._wheels = wheels
        venv.create(path, with_pip=True)
        self.work.mkdir()
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AATS_"))}
        self._env = {**outside, "PATH": f"{path / 'bin'}:{outside.get('PATH', os.defpath)}", "VIRTUAL_ENV": str(path)}

    def pip(self, *arguments: str | Path) -> None:
        """Run the environment's pip."""
        self.run("python", "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments))

    def install(self, *requirements: str) -> None:
        """Install from the wheels alone: what an index has under these names is never looked at."""
        self.pip("install", "--no-index", "--find-links", self._wheels, *requirements)
        self.pip("check")

    def run(self, name: str, *arguments: str, code: int = 0) -> str:
        """Run a program of the environment and return what it wrote to both outputs."""
        done = run(self.path / "bin" / name, *arguments, cwd=self.work, env=self._env, code=code)
        return done.stdout + done.stderr


# The wheels


def build_wheels(wheels: Path) -> None:
    """Build a wheel of every project, and see that it holds the package as it lies in the repository, and no more."""
    for project in projects():
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, project.path)
        (wheel,) = wheels.glob(f"{project.name.replace('-', '_')}-*.whl")
        held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        wanted = {
            str(path.relative_to(project.package.parent))
            for path in project.package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        if held != wanted:
            raise Trouble(f"{wheel.name}: lacks {sorted(wanted - held)}, has besides {sorted(held - wanted)}")


def fetch_dependencies(env: Environment, wheels: Path) -> None:
    """Put wheels of all that our own need beside them, extras included, once for all environments."""
    ours = {project.name for project in projects()}
    needed = set()
    for wheel in wheels.glob("aats_*.whl"):
        archive = zipfile.ZipFile(wheel)
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        for line in Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", []):
            requirement = line.partition(";")[0].strip()
            if re.split(r"[^\w.-]", requirement)[0] not in ours:
                needed.add(requirement)
    env.pip("wheel", "--wheel-dir", wheels, *sorted(needed))


# What is done in each environment


def check_core_alone(env: Environment) -> None:
    """Without any plugin the command line answers, and says which plugin to install."""
    env.install("aats-core")
    expect(env.run("aats", "--version"), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    expect(env.run("aats", "--help"), "Usage: aats COMMAND", "simulate")
    env.run("aats", "plugins")
    (env.work / "team.toml").write_text("")
    expect(env.run("aats", "run", "team.toml", code=2), "pip install aats-broker-memory")
    env.run("aats", "new", "agent", "acme-registry")


def check_plugin_alone(project: Project) -> Callable[[Environment], None]:
    """Beside the kernel alone, a plugin is listed, can be imported, and is a complete class of its kind."""

    def check(env: Environment) -> None:
        env.install(project.name)
        expect(env.run("aats", "plugins"), project.plugin, project.name)
        script = (
            f"from aats_core.plugins import *; print(discover().load(PluginKind('{project.kind}'), {project.plugin!r}))"
        )
        expect(env.run("python", "-I", "-W", "error", "-c", script), project.package.name)

    return check


def check_quick_start(env: Environment) -> None:
    """The embedded parts carry out a plan, and do not begin it again once it is done."""
    env.install("aats-core[embedded]")
    (env.work / "team.toml").write_text(TEAM)
    (env.work / "plan.yaml").write_text(PLAN)
    env.run("aats", "check", "team.toml")
    expect(env.run("aats", "run", "team.toml", "--plan", "plan.yaml"), "quick-start", "3 done")
    expect((env.work / "kept.txt").read_text(), "from a shell task")
    expect(env.run("aats", "simulate", "plan.yaml", "--workers", "2"), "Makespan")
    env.run("aats", "report", "quick-start", "--html", "report.html")
    expect((env.work / "report.html").read_text(), "<html")


def check_testing_kit(env: Environment) -> None:
    """A new plugin's tests run on the kit, and what is its own passes."""
    env.install("aats-core[testing]")
    env.run("aats", "new", "agent", "acme-registry")
    env.run("python", "-m", "pytest", "-q", "-o", "pythonpath=src", "acme-registry")


def checks() -> dict[str, Callable[[Environment], None]]:
    """Return what there is to check, by name."""
    alone = {f"{project.name} alone": check_plugin_alone(project) for project in projects() if project.kind}
    return {
        "aats-core alone": check_core_alone,
        **alone,
        "aats-core[embedded]": check_quick_start,
        "aats-core[testing]": check_testing_kit,
    }


@contextmanager
def step(name: str, failed: list[str]) -> Iterator[None]:
    """Say how a step went and how long it took; one that fails does not keep the others from being made."""
    began = time.monotonic()
    try:
        yield
    except Trouble as trouble:
        failed.append(name)
        print(f"✗ {name} ({time.monotonic() - began:.1f} s)\n{trouble}", flush=True)
    else:
        print(f"✓ {name} ({time.monotonic() - began:.1f} s)", flush=True)


def main() -> int:
    """Make all checks, or those whose names hold one of the arguments; returns the exit code."""
    words, failed = sys.argv[1:], list[str]()
    with tempfile.TemporaryDirectory(prefix="aats-packages-") as place:
        wheels = Path(place, "wheels")
        wheels.mkdir()
        with step("wheels of every distribution", failed):
            build_wheels(wheels)
        with step("wheels of what they need", failed):
            fetch_dependencies(Environment(Path(place, "fetch"), wheels), wheels)
        if failed:
            return 1
        for number, (name, check) in enumerate(checks().items()):
            if not words or any(word in name for word in words):
                with step(name, failed):
                    check(Environment(Path(place, f"env{number}"), wheels))
    print(f"{len(failed)} failed: {', '.join(failed)}" if failed else "all well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
