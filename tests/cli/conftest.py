"""Fixtures of the command line's tests: `aats` run as a user runs it, and a plugin with tasks to play with."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

AATS = str(Path(sys.executable).with_name("aats"))

TOYS = """
    import asyncio, os
    from pathlib import Path
    from typing import Annotated

    import msgspec
    from pydantic import Field, SecretStr

    from aats_core import Agent, AgentSettings, TaskContext, TaskFailed, task

    class Nap(msgspec.Struct):
        seconds: float = 0.0
        says: list[str] = []

    class Fail(msgspec.Struct):
        why: str = "broken"

    class Append(msgspec.Struct):
        file: str
        text: str
        seconds: float = 0.0

    class ToySettings(AgentSettings):
        password: SecretStr = SecretStr("")

    class Toys(Agent):
        Settings = ToySettings

        @task("toy.nap")
        async def nap(self, payload: Nap, ctx: TaskContext) -> str:
            for text in payload.says:
                await ctx.report(text)
            await asyncio.sleep(payload.seconds)
            return "rested"

        @task("toy.fail")
        async def fail(self, payload: Fail) -> None:
            raise TaskFailed(payload.why)

        @task("toy.append")
        async def append(self, payload: Append, ctx: TaskContext) -> None:
            path = Path(payload.file)

            async def do() -> bool:
                with path.open("a") as file:
                    file.write(payload.text + "\\n")
                    file.flush()
                    os.fsync(file.fileno())
                return True

            async def check(key: str) -> bool | None:
                return True if path.exists() and payload.text in path.read_text().splitlines() else None

            await ctx.effects.once("append", do, check=check)
            await asyncio.sleep(payload.seconds)

    class Deaf(Agent):
        pass
"""


@dataclass
class Place:
    """A directory with a plugin of toys, in which `aats` is run."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, name: str, text: str) -> Path:
        """Write a file and return its path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def start(self, *arguments: object, **options: object) -> subprocess.Popen[str]:
        """Start `aats` with its output piped."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [AATS, *map(str, arguments)], cwd=self.path, env=self.environ, text=True, **pipes
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what is still running."""
        for process in self.started:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def aats(self, *arguments: object, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `aats` to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python as `aats` would be run."""
        return subprocess.run(
            [sys.executable, "-c", dedent(code)],
            cwd=self.path,
            env=self.environ,
            text=True,
            capture_output=True,
            check=False,
        )


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for `sys.path` that holds the plugin of toys as if it were installed."""
    library = tmp_path_factory.mktemp("library")
    (library / "acme_toys.py").write_text(dedent(TOYS))
    info = library / "acme_toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aats.agents]\ntoys = acme_toys:Toys\ndeaf = acme_toys:Deaf\n")
    return library


@pytest.fixture(scope="session")
def make_place(toys: Path) -> Callable[[Path], Place]:
    """Return a function that makes a place of a directory."""

    def make(path: Path) -> Place:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AATS_", "COVERAGE"))}
        library = os.pathsep.join(filter(None, [str(toys), os.environ.get("PYTHONPATH")]))
        return Place(path, {**kept, "PYTHONPATH": library, "HOME": str(path), "TERM": "xterm", "COLUMNS": "80"})

    return make


@pytest.fixture
def place(make_place: Callable[[Path], Place], tmp_path: Path) -> Iterator[Place]:
    """Yield a place of its own."""
    place = make_place(tmp_path)
    yield place
    place.end()
