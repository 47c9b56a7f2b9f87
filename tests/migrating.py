"""A project with migrations, on which `aats migrate` is run as a user runs it."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from textwrap import dedent
from unittest.mock import patch

from aats_core.cli import main
from aats_core.migrations.opening import open_to_read
from aats_core.store import Document
from aats_core.team_file import TeamFile, load_team_file

AATS = str(Path(sys.executable).with_name("aats"))

HEAD = """
import asyncio
from pathlib import Path

from aats_core import Migration, MigrationContext, Update


async def pause(name):
    Path(name).touch()
    while not Path("go").exists():
        await asyncio.sleep(0.02)

"""

VICTIM = ("--set", "team.lease=1")
"""Options of a process that is going to be killed, so that nobody waits long for what it held."""


class Project:
    """A directory with a team file and a directory of steps."""

    def __init__(self, path: Path, team: str) -> None:
        self.path = path
        self.environ = dict(os.environ)
        self.started: list[subprocess.Popen[str]] = []
        (path / "migrations").mkdir()
        self.write("team.toml", team)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(dedent(text))
        return path

    def step(self, name: str, text: str) -> Path:
        """Write a file of a step: what all of them import, and this."""
        return self.write(f"migrations/{name}.py", HEAD + dedent(text))

    def start(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [AATS, "migrate", command, "team.toml", *arguments],
            cwd=self.path,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.started.append(process)
        return process

    def migrate(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in this process, which is quicker."""
        line = ["migrate", command, "team.toml", *arguments]
        with (
            chdir(self.path),
            patch.object(sys, "argv", ["aats", *line]),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            code = main()
        return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())

    def end(self) -> None:
        """End what still runs."""
        for process in self.started:
            process.kill()
            process.communicate()

    def start_until(self, file: str) -> subprocess.Popen[str]:
        """Start to migrate and return once it has made a file; where its short lease got lost before, do so again."""
        while True:
            process = self.start("up", *VICTIM)
            while not (self.path / file).exists() and process.poll() is None:
                time.sleep(0.01)
            if (self.path / file).exists():
                return process
            _, err = process.communicate()
            assert "lease" in err, err

    def kill_at(self, file: str) -> None:
        """Start to migrate, and kill it with -9 once it has made a file."""
        process = self.start_until(file)
        process.kill()
        process.communicate()

    def states(self) -> dict[str, str]:
        """Return the state of each step."""

        async def ask() -> dict[str, str]:
            async with open_to_read(self.team_file) as migrator:
                standings, problems = await migrator.standings()
                assert problems == []
                return {standing.step.id: str(standing.state) for standing in standings}

        return asyncio.run(ask())

    @property
    def team_file(self) -> TeamFile:
        return load_team_file(self.path / "team.toml")

    def find(self, collection: str, store: str = "primary") -> list[Document]:
        """Return what a collection of a store holds."""

        async def ask() -> list[Document]:
            async with open_to_read(self.team_file) as migrator:
                return await migrator._places.ledgers[store].records.find(collection, sort={"_id": 1})

        return asyncio.run(ask())


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=100)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def project_at(path: Path, team: str) -> Iterator[Project]:
    """Make a project in a directory; what it still runs in the end is ended."""
    project = Project(path, team)
    try:
        yield project
    finally:
        project.end()


FILL = """
class Fill(Migration):
    '''Fill the shelf.'''

    async def up(self, ctx: MigrationContext) -> None:
        await ctx.records().insert("things", *({"_id": n, "n": 0} for n in range(20)))
        await pause("filled")

    async def down(self, ctx: MigrationContext) -> None:
        await ctx.records().delete("things", {})
"""

COUNT = """
class Count(Migration):
    '''Add one to each thing, one by one.'''

    atomic = False

    async def up(self, ctx: MigrationContext) -> None:
        last = await ctx.position()
        while found := await ctx.records().find(
            "things", {"_id": {"$gt": -1 if last is None else last}}, sort={"_id": 1}, limit=1
        ):
            last = found[0]["_id"]
            await ctx.advance(last, Update("things", {"_id": last}, {"$inc": {"n": 1}}))
            Path(f"counted-{last}").touch()
            while last in (3, 11) and not Path("go").exists():
                await asyncio.sleep(0.02)
        await pause("counted")

    async def down(self, ctx: MigrationContext) -> None:
        await ctx.records().update("things", {}, {"$set": {"n": 0}})
"""


NOTHING = """
class Nothing(Migration):
    '''Do nothing.'''

    async def up(self, ctx: MigrationContext) -> None:
        pass

    async def down(self, ctx: MigrationContext) -> None:
        pass
"""


class Scenarios:
    """What has to hold on every store; a subclass has a fixture `project` whose primary store is that one."""

    moments: tuple[str, ...] = ("counted-3",)
    """Files that a backfill makes, at each of which it is killed."""

    def test_a_step_killed_in_its_transaction_has_done_nothing_and_is_done_once_afterwards(self, project):
        project.step("0001_fill", FILL)

        project.kill_at("filled")

        assert project.find("things") == []
        assert project.states() == {"0001_fill": "pending"}
        project.write("go", "")
        answer = project.migrate("up")
        assert answer.returncode == 0, answer.stderr
        assert len(project.find("things")) == 20
        assert project.migrate("up").stdout == "nothing to do\n"

    def test_a_backfill_killed_again_and_again_goes_on_where_it_was(self, project):
        project.write("go", "")
        project.step("0001_fill", FILL)
        assert project.migrate("up").returncode == 0
        (project.path / "go").unlink()
        project.step("0002_count", COUNT)

        for file in self.moments:
            project.kill_at(file)
            assert project.states()["0002_count"] == "unfinished"

        project.write("go", "")
        answer = project.migrate("up")
        assert "0002_count: up, going on" in answer.stdout, answer.stderr
        assert project.states() == {"0001_fill": "applied", "0002_count": "applied"}
        assert [thing["n"] for thing in project.find("things")] == [1] * 20

    def test_what_was_applied_is_reverted_from_the_last_on(self, project):
        project.write("go", "")
        project.step("0001_fill", FILL)
        project.step("0002_count", COUNT)
        assert project.migrate("up").returncode == 0

        answer = project.migrate("down", "--to", "0001", "--yes")

        assert answer.returncode == 0, answer.stderr
        assert project.states() == {"0001_fill": "applied", "0002_count": "pending"}
        assert [thing["n"] for thing in project.find("things")] == [0] * 20
        assert project.migrate("down", "--all", "--yes").returncode == 0
        assert project.find("things") == []
        assert project.migrate("up").returncode == 0
        assert [thing["n"] for thing in project.find("things")] == [1] * 20

    def test_two_at_once_are_one_after_the_other(self, project):
        project.step("0001_fill", FILL)
        first = project.start("up")
        while not (project.path / "filled").exists():
            time.sleep(0.01)

        elsewhere = ("--set", "team.state_dir=elsewhere")
        refused = project.migrate("up", "--wait", "0", *elsewhere)
        second = project.start("up", *elsewhere)
        waiting = second.stderr.readline()
        project.write("go", "")

        assert refused.returncode == 3
        assert "another process is migrating it" in refused.stderr
        assert f"process {first.pid}" in refused.stderr
        assert f"process {first.pid}" in waiting
        assert finish(first).returncode == 0
        assert finish(second).stdout == "nothing to do\n"
        assert len(project.find("things")) == 20
