"""`aats migrate` on the embedded store: killed, twice at once, failing, reverted, and asked."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aats_core.health import Health, HealthStatus
from aats_core.migrations.ledger import LEDGER
from aats_core.team import Team
from tests.migrating import COUNT, FILL, NOTHING, Project, Scenarios, finish, project_at

SLOW = """
class Slow(Migration):
    atomic = False
    irreversible = "it is only slow"

    async def up(self, ctx: MigrationContext) -> None:
        await pause("began")
"""

BROKEN = """
class Broken(Migration):
    async def up(self, ctx: MigrationContext) -> None:
        await ctx.records().insert("things", {"_id": 1})
        raise KeyError("owner")

    async def down(self, ctx: MigrationContext) -> None:
        await ctx.records().delete("things", {})
"""

FINAL = """
class Final(Migration):
    irreversible = "what was deleted is gone"

    async def up(self, ctx: MigrationContext) -> None:
        pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with project_at(tmp_path, f'[stores.primary]\npath = "{tmp_path}/shared.db"\n') as project:
        yield project


class TestOnSqlite(Scenarios):
    moments = ("counted-3", "counted-11", "counted")

    def test_in_one_state_directory_the_second_waits_for_the_first(self, project):
        project.step("0001_fill", FILL)
        first = project.start_until("filled")

        refused = project.migrate("up", "--wait", "0")
        second = project.start("up")
        waiting = second.stderr.readline()
        project.write("go", "")

        assert refused.returncode == 3
        assert f"held by process {first.pid}" in refused.stderr
        assert f"held by process {first.pid}" in waiting
        assert finish(second).returncode == 0
        assert len(project.find("things")) == 20

    def test_killed_at_any_moment_it_is_done_once_in_the_end(self, project):
        seed = int(os.environ.get("AATS_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
        print(f"seed: AATS_TEST_SEED={seed}")
        randomness = random.Random(seed)
        project.write("go", "")
        project.step("0001_fill", FILL)
        project.step(
            "0002_count", COUNT.replace("            while", "            await asyncio.sleep(0.02)\n            while")
        )
        project.step("0003_fill_more", FILL.replace("range(20)", "range(20, 40)"))

        for _ in range(4):
            began = len(list(project.path.glob("*ed*")))
            process = project.start("up", "--set", "team.lease=0.3")
            while process.poll() is None and len(list(project.path.glob("*ed*"))) == began:
                time.sleep(0.005)
            time.sleep(randomness.uniform(0, 0.3))
            process.kill()
            process.communicate()
        answer = project.migrate("up")

        assert answer.returncode == 0, answer.stderr
        assert [thing["n"] for thing in project.find("things")] == [1] * 20 + [0] * 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_step_which_goes_on_later_and_keeps_nobody_waiting(project, number):
    project.step("0001_slow", SLOW)
    process = project.start_until("began")

    process.send_signal(number)
    answer = finish(process)
    project.write("go", "")
    again = project.migrate("up", "--wait", "0")

    assert answer.returncode == 128 + number
    assert "Traceback" not in answer.stderr
    assert again.returncode == 0, again.stderr


class TestFailures:
    def test_a_step_that_fails_is_named_with_its_line_and_its_store(self, project):
        project.step("0001_fine", NOTHING.replace("Nothing", "Fine"))
        path = project.step("0002_broken", BROKEN)
        project.step("0003_never", NOTHING)

        answer = project.migrate("up")

        assert answer.returncode == 1
        assert "0001_fine: applied" in answer.stdout
        line = path.read_text().splitlines().index('        raise KeyError("owner")') + 1
        assert f"migrations/0002_broken.py:{line}: up of 0002_broken failed in store primary: KeyError: 'owner'" in (
            answer.stderr
        )
        assert "nothing of it was kept" in answer.stderr
        assert "Traceback" not in answer.stderr
        assert project.find("things") == []
        assert project.states() == {"0001_fine": "applied", "0002_broken": "pending", "0003_never": "pending"}
        assert "KeyError: 'owner'" in project.migrate("status").stdout

    def test_a_list_in_the_place_of_documents_is_told_as_such(self, project):
        insert = 'await ctx.records().insert("things", [{"_id": 1}])'
        project.step("0001_broken", BROKEN.replace('raise KeyError("owner")', insert))

        answer = project.migrate("up")

        assert answer.returncode == 1
        assert "InvalidDocument: a document is a mapping, not a list; pass documents one by one" in answer.stderr

    def test_json_says_which_step_failed_where_and_why(self, project):
        project.step("0001_fine", NOTHING.replace("Nothing", "Fine"))
        project.step("0002_broken", BROKEN)

        answer = project.migrate("up", "--json")

        told = json.loads(answer.stdout)
        reason = told["failed"].pop("reason")
        assert told["exit_code"] == answer.returncode == 1
        assert [done["step"] for done in told["done"]] == ["0001_fine"]
        assert told["failed"] == {"step": "0002_broken", "direction": "up", "file": "migrations/0002_broken.py"}
        assert "failed in store primary: KeyError: 'owner'" in reason

    def test_without_a_transaction_what_a_failed_step_did_stays_and_is_gone_on_with(self, project):
        path = project.step("0001_broken", BROKEN.replace("    async", "    atomic = False\n\n    async", 1))
        answer = project.migrate("up")

        assert answer.returncode == 1
        assert project.states() == {"0001_broken": "unfinished"}
        assert len(project.find("things")) == 1
        path.write_text(path.read_text().replace('raise KeyError("owner")', "pass").replace('"_id": 1', '"_id": 2'))
        assert project.migrate("up").returncode == 0
        assert len(project.find("things")) == 2

    def test_what_was_not_finished_can_be_reverted(self, project):
        project.step("0001_broken", BROKEN.replace("    async", "    atomic = False\n\n    async", 1))
        assert project.migrate("up").returncode == 1

        answer = project.migrate("down", "--steps", "1", "--yes")

        assert answer.returncode == 0, answer.stderr
        assert project.states() == {"0001_broken": "pending"}
        assert project.find("things") == []


class TestDown:
    def test_nothing_is_reverted_without_consent(self, project):
        project.step("0001_nothing", NOTHING)
        assert project.migrate("up").returncode == 0

        answer = project.migrate("down", "--all")

        assert answer.returncode == 2
        assert "0001_nothing" in answer.stdout
        assert "with --yes 1 step would be" in answer.stderr
        assert project.states() == {"0001_nothing": "applied"}
        as_json = project.migrate("down", "--all", "--json")
        assert [step["id"] for step in json.loads(as_json.stdout)] == ["0001_nothing"]

    def test_it_has_to_be_said_which(self, project):
        assert "--to STEP, --steps N, or --all" in project.migrate("down", "--yes").stderr

    def test_a_step_that_cannot_be_reverted_says_why_and_nothing_is(self, project):
        project.step("0001_final", FINAL)
        project.step("0002_nothing", NOTHING)
        assert project.migrate("up").returncode == 0

        answer = project.migrate("down", "--all", "--yes")

        assert answer.returncode == 2
        assert "0001_final.py: it cannot be reverted: what was deleted is gone" in answer.stderr
        assert project.states() == {"0001_final": "applied", "0002_nothing": "applied"}


class TestQuestions:
    def test_status_and_plan_change_nothing(self, project):
        project.step("0001_nothing", NOTHING)
        project.step("0002_final", FINAL)

        status, plan = project.migrate("status"), project.migrate("plan", "--to", "0001")

        assert status.returncode == 1
        assert [line.split()[:3] for line in status.stdout.splitlines()[1:]] == [
            ["0001_nothing", "pending", "primary"],
            ["0002_final", "pending", "primary"],
        ]
        assert plan.returncode == 0
        assert "0001_nothing" in plan.stdout
        assert "0002_final" not in plan.stdout
        assert project.find(LEDGER) == project.find("leases") == []
        assert not (project.path / ".aats").exists()

    def test_status_as_json(self, project):
        project.step("0001_nothing", NOTHING)
        done = project.migrate("up", "--json")

        [step] = json.loads(project.migrate("status", "--json").stdout)["steps"]

        told = json.loads(done.stdout)
        assert told["done"][0]["step"] == "0001_nothing"
        assert (told["failed"], told["accepted"]) == (None, [])
        assert step["state"] == "applied"
        assert step["description"] == "Do nothing."
        assert step["ledgers"]["primary"]["checksum"] == step["checksum"]
        assert step["ledgers"]["primary"]["by"].endswith(f"process {os.getpid()}")

    @pytest.mark.parametrize("command", ["status", "plan", "up"])
    def test_a_state_directory_of_a_newer_version_is_refused(self, project, command):
        project.step("0001_nothing", NOTHING)
        assert project.migrate("up").returncode == 0
        (project.path / ".aats" / "format").write_text("99\n")

        refused = project.migrate(command)

        assert (refused.returncode, refused.stdout) == (3, "")
        assert "has format 99, this version of AATS knows 1; upgrade aats-core" in refused.stderr

    def test_a_team_without_steps_has_nothing_to_do(self, project):
        assert project.migrate("status").returncode == 0
        assert project.migrate("up").stdout == "nothing to do\n"


class TestATeamThatStarts:
    def test_it_warns_of_what_is_not_applied_and_its_health_says_so(self, project):
        project.step("0001_nothing", NOTHING)

        async def parts() -> Health:
            async with Team(project.team_file) as team:
                return (await team.operations.status()).parts["migrations"]

        pending = asyncio.run(parts())
        assert project.migrate("up").returncode == 0
        applied = asyncio.run(parts())

        assert pending.status is HealthStatus.DEGRADED
        assert "not migrated: 0001_nothing; run: aats migrate up" in pending.detail
        assert applied == Health()

    def test_it_runs_no_file_of_a_step(self, project):
        project.write("migrations/0001_loud.py", "raise SystemExit('it was run')")

        async def start() -> bool:
            async with Team(project.team_file):
                return True

        assert asyncio.run(start())
