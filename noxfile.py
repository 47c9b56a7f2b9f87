"""The project's checks. A bare `nox` runs `lint`, `tests`, and `integration` with the servers that can be had."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "tests", "integration"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
AGAIN = ("--reruns=2", "-raR")
"""A test that fails is tried again, as processes and servers share few cores here; each that needed it is listed."""
SIDE_BY_SIDE = ("--numprocesses=auto", "--dist=loadfile")
"""Files of tests are shared out over the processors; a process has servers of its own."""
PROJECT = nox.project.load_toml("pyproject.toml")
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml"))


def install(session: nox.Session, *groups: str) -> None:
    """Install what work on the workspace takes, and those groups, in the versions that `constraints.txt` pins."""
    session.install("-c", "constraints.txt", "-r", "requirements.txt", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, mypy --strict, and the rules on who may import whom."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    packages = ["aats_core", *(path.parent.name for path in ROOT.glob("plugins/*/*/src/*/py.typed"))]
    session.run("mypy", *(argument for name in packages for argument in ("-p", name)))
    session.run("mypy", "-p", "tests.services")
    session.run("mypy", *map(str, ROOT.glob("tests/typing/*.py")), "noxfile.py")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that needs no server, on the embedded parts."""
    install(session)
    session.run("pytest", "-m", "not integration and not faults", *AGAIN, *SIDE_BY_SIDE, *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """The plugins on their real servers, which `tests/services` starts."""
    install(session)
    session.run("python", "-m", "tests.services.fetch")  # no test is to wait for what comes over the network
    given = any(re.fullmatch("AATS_TEST_.*_URL", name) for name in os.environ)
    counts = any(each.startswith("--matrix") for each in session.posargs)
    how = () if given or counts else SIDE_BY_SIDE  # servers that are given, and the matrix, are for one process
    session.run("pytest", "-m", "integration", *AGAIN, "--durations=25", *how, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, restarts and cut connections; takes minutes."""
    install(session)
    session.run("pytest", "-m", "faults", "--timeout=900", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The figures, each beside its named peer; arguments choose some of `benchmarks/`."""
    install(session, "bench")
    programs = (path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())
    chosen = session.posargs or sorted(path.stem for path in programs)
    for name in chosen:
        session.run("python", f"benchmarks/{name}.py", env={"PYTHONPATH": str(ROOT)})


@nox.session(venv_backend="venv")
def packages(session: nox.Session) -> None:
    """Every wheel built, installed alone into a fresh environment with plain pip, and the quick start run there."""
    session.install(*nox.project.dependency_groups(PROJECT, "build"))
    session.run("python", "tests/packages/check.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the pages of `docs/` that are made from the code."""
    install(session)
    with (ROOT / "docs" / "team-file.md").open("w", encoding="utf-8") as page:
        session.run("python", "-m", "aats_core.team_reference", stdout=page)


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Pin every dependency in `constraints.txt`, without addresses."""
    groups = [argument for group in PROJECT["dependency-groups"] for argument in ("--group", group)]
    sources = [str(path.relative_to(ROOT) / "pyproject.toml") for path in PLUGINS]
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-emit-index-url"]
    command += ["--python-version=3.11", "--all-extras", "--no-annotate", "--custom-compile-command=nox -s lock"]
    own = [f"--no-emit-package={nox.project.load_toml(source)['project']['name']}" for source in sources]
    command += [*own, "--no-emit-package=aats-core", "pyproject.toml", *sources, *groups, "-o", "constraints.txt"]
    session.run(*command, *session.posargs, external=True)


@nox.session
def services(session: nox.Session) -> None:
    """Start the real servers that the tests use and keep them until Ctrl-C."""
    install(session)
    session.run("python", "-m", "tests.services", *session.posargs)
