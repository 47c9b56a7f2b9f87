"""What `aats check` finds out: what each section comes to, what can be reached, and what is wrong."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest

from aats_core.errors import SettingsError
from aats_core.state_dir import StateDirectory
from aats_core.team_check import CheckReport, CheckRow, CheckStatus, check_team_file


class Check:
    """Writes a team file and checks it with the plugins of the `parts` fixture."""

    def __init__(self, directory: Path, catalog) -> None:
        self.path = directory / "team.toml"
        self.catalog = catalog

    def __call__(self, text: str = "", *overrides: str, timeout: float = 10.0, **environ: str) -> CheckReport:
        self.path.write_text(dedent(text))
        return asyncio.run(
            check_team_file(self.path, overrides=overrides, environ=environ, catalog=self.catalog, timeout=timeout)
        )

    def row(self, section: str, text: str = "", *overrides: str, timeout: float = 10.0, **environ: str) -> CheckRow:
        return row(self(text, *overrides, timeout=timeout, **environ), section)


def row(report: CheckReport, section: str) -> CheckRow:
    (found,) = (row for row in report.rows if row.section == section)
    return found


@pytest.fixture
def check(tmp_path, parts, monkeypatch) -> Check:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    directory = tmp_path / "team"
    directory.mkdir()
    return Check(directory, parts)


class TestRows:
    def test_there_is_one_for_each_section_those_of_the_defaults_too(self, check):
        report = check("[agents.build]\nplugin = 'shell'\n")

        assert [(row.section, row.plugin, row.version, row.status) for row in report.rows] == [
            ("team", "", row(report, "team").version, CheckStatus.OK),
            ("broker", "memory", "1.0", CheckStatus.OK),
            ("stores.primary", "sqlite", "1.0", CheckStatus.OK),
            ("agents.project-manager", "project-manager", "1.0", CheckStatus.OK),
            ("agents.task-scheduler", "task-scheduler", "1.0", CheckStatus.OK),
            ("agents.build", "shell", "1.0", CheckStatus.OK),
        ]
        assert report.good
        assert report.problems == ()

    def test_an_agent_says_which_tasks_it_runs(self, check):
        assert check.row("agents.shell", "[agents.shell]\n").detail == "runs shell.run"

    def test_settings_tell_what_is_a_default(self, check):
        settings = {s.name: (s.value, s.default) for s in check.row("broker", "[broker]\ncapacity = 3\n").settings}

        assert settings["capacity"] == (3, False)
        assert settings["note"] == ("", True)

    def test_secrets_are_masked_wherever_they_stand(self, check):
        text = """
            [broker]
            password = "check-secret-1"
            note = { env = "NOTE" }
            capacity = { env = "CAPACITY" }
            servers = ["amqp://guest:check-secret-2@host", "plain"]
            [agents.shell]
            labels = { a = { env = "LABEL" } }
        """

        report = check(text, NOTE="check-secret-3", CAPACITY="73", LABEL="check-secret-4")

        shown = {setting.name: setting.value for setting in row(report, "broker").settings}
        assert (shown["password"], shown["note"]) == ("**********", "**********")
        assert shown["capacity"] == "**********"
        assert shown["servers"] == ["amqp://**********@host", "plain"]
        assert "check-secret" not in repr(report)


class TestReaching:
    def test_a_store_that_refuses_is_down_and_shows_no_password(self, check):
        text = "[stores.primary]\nfault = 'raise'\ndsn = 'postgres://me:check-pw-5@host/db'\n"

        report = check(text)

        found = row(report, "stores.primary")
        assert found.status is CheckStatus.DOWN
        assert found.detail == "StoreUnavailable: nobody answers at postgres://**********@host/db"
        assert not report.good

    def test_one_that_does_not_answer_is_given_up_and_harms_no_other(self, check):
        report = check("[stores.a]\nfault = 'hang'\n[stores.b]\n", timeout=0.05)

        assert (row(report, "stores.a").status, row(report, "stores.a").detail) == (
            CheckStatus.DOWN,
            "no answer within 0.05 s",
        )
        assert row(report, "stores.b").status is CheckStatus.OK

    def test_what_is_degraded_is_good_enough(self, check):
        report = check("[stores.primary]\nfault = 'degraded'\n")

        assert (row(report, "stores.primary").status, row(report, "stores.primary").detail) == (
            CheckStatus.DEGRADED,
            "the disk is slow",
        )
        assert report.good

    def test_an_integration_says_how_it_is(self, check):
        found = check.row("integrations.jira", "[integrations.jira]\nsite = 'x'\n")

        assert (found.status, found.detail) == (CheckStatus.DOWN, "https://**********@jira does not answer")

    def test_a_backend_says_itself_what_is_wrong_before_it_is_waited_for_no_longer(self, check):
        found = check.row("stores.primary", "[stores.primary]\nfault = 'away'\ntimeout = '1h'\n", timeout=10.0)
        assert (found.status, found.detail) == (CheckStatus.DOWN, "StoreUnavailable: nobody answered within 8 s")
        assert next(shown.value for shown in found.settings if shown.name == "timeout") == 3600

    def test_what_does_not_close_is_said(self, check, caplog):
        found = check.row("stores.primary", "[stores.primary]\nfault = 'close'\n")
        assert found.status is CheckStatus.DEGRADED
        assert "could not be ended well after the check" in found.detail
        assert "[stores.primary] could not be ended well after the check" in caplog.text

    def test_a_cancelled_check_closes_what_it_opened(self, check):
        check.path.write_text("[stores.a]\nfault = 'hang'\n[stores.b]\n")

        async def scenario():
            running = asyncio.create_task(check_team_file(check.path, environ={}, catalog=check.catalog))
            while not list(Path(tempfile.gettempdir()).glob("*/store.db")):
                await asyncio.sleep(0)
            running.cancel()
            await running

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(scenario())
        assert list(Path(tempfile.gettempdir()).iterdir()) == []


class TestProblems:
    def test_every_invalid_section_has_a_row_and_a_line(self, check):
        report = check("[agents.build]\n[stores.primary]\ntimeout = 'x'\n[agent]\n[broker]\n")

        assert row(report, "agents.build").status is CheckStatus.INVALID
        assert "no agent plugin 'build' is installed" in row(report, "agents.build").detail
        assert row(report, "stores.primary").detail.startswith("timeout: 'x' is not a time")
        assert row(report, "agent").status is CheckStatus.INVALID
        assert [row.section for row in report.rows][-2:] == ["agents.build", "agent"]
        assert len(report.problems) == 3
        assert not report.good

    def test_what_is_valid_is_reached_all_the_same(self, check):
        report = check("[agents.build]\n[stores.primary]\nfault = 'raise'\n")

        assert row(report, "stores.primary").status is CheckStatus.DOWN
        assert row(report, "agents.task-scheduler").status is CheckStatus.OK

    def test_without_a_broker_nothing_is_tried(self, check):
        report = check("[broker]\nplugin = 'nats'\n")

        assert row(report, "broker").status is CheckStatus.INVALID
        assert row(report, "stores.primary").status is CheckStatus.UNTRIED

    def test_an_agent_that_cannot_have_what_it_asks_for_keeps_no_store_from_being_tried(self, check, site):
        source = """
            from aats_core import Agent, VectorStore
            class Seeker(Agent):
                def __init__(self, vectors: VectorStore) -> None: ...
        """
        site.add("acme-seeker", {"aats.agents": {"seeker": "acme_seeker:Seeker"}}, modules={"acme_seeker": source})
        check.catalog = site.catalog()

        report = check("[agents.seeker]\n")

        found = row(report, "agents.seeker")
        assert found.status is CheckStatus.INVALID
        assert found.detail.startswith("Seeker.__init__: parameter vectors: the team has no VectorStore")
        assert row(report, "stores.primary").status is CheckStatus.OK
        assert len(report.problems) == 1

    def test_agents_are_not_blamed_for_a_store_that_is_wrong(self, check, site):
        source = """
            from aats_core import Agent, RecordStore
            class Seeker(Agent):
                def __init__(self, primary: RecordStore) -> None: ...
        """
        site.add("acme-seeker", {"aats.agents": {"seeker": "acme_seeker:Seeker"}}, modules={"acme_seeker": source})
        check.catalog = site.catalog()

        report = check("[stores.primary]\nplugin = 'postgres'\n[agents.seeker]\n")

        assert row(report, "agents.seeker").status is CheckStatus.UNTRIED
        assert row(report, "broker").status is CheckStatus.OK
        assert len(report.problems) == 1

    def test_a_store_whose_constructor_fails_is_invalid(self, check, site):
        source = """
            from acme_parts import FileStore
            class Failing(FileStore):
                def __init__(self) -> None:
                    raise OSError("no")
        """
        site.add("acme-failing", {"aats.stores": {"failing": "acme_failing:Failing"}}, modules={"acme_failing": source})
        check.catalog = site.catalog()

        report = check("[stores.primary]\nplugin = 'failing'\n")

        assert row(report, "stores.primary").detail == "the constructor of Failing failed: OSError: no"
        assert row(report, "broker").status is CheckStatus.UNTRIED
        assert len(report.problems) == 1

    def test_an_agent_whose_constructor_fails_is_invalid_and_shows_no_secret(self, check):
        report = check("[agents.shell]\nport = 99\ntoken = 'check-secret-6'\n")

        found = row(report, "agents.shell")
        assert found.status is CheckStatus.INVALID
        assert "RuntimeError: no port **********" in found.detail
        assert not report.good

    def test_a_handler_that_is_not_valid_is_found(self, check, site):
        source = """
            from aats_core import Agent, on
            class Bad(Agent):
                @on("x")
                async def handle(self, payload): ...
        """
        site.add("acme-bad", {"aats.agents": {"bad": "acme_bad:Bad"}}, modules={"acme_bad": source})
        check.catalog = site.catalog()

        assert check.row("agents.bad", "[agents.bad]\n").status is CheckStatus.INVALID

    def test_a_file_that_cannot_be_read_is_an_error(self, check):
        with pytest.raises(SettingsError, match=r":1: not valid TOML"):
            check("[team\n")

    def test_an_unknown_plugin_of_the_whole_team_is_reported_with_its_command(self, check):
        (problem,) = check("[broker]\nplugin = 'nats'\n").problems

        assert problem.endswith("to install it: pip install aats-broker-nats")


class TestDisk:
    def test_nothing_is_left_behind(self, check, tmp_path):
        report = check("")

        assert [path.name for path in check.path.parent.iterdir()] == ["team.toml"]
        assert list(Path(tempfile.gettempdir()).iterdir()) == []
        assert row(report, "team").detail == f"state directory {check.path.parent}/.aats, not in use yet"

    def test_a_state_directory_in_use_before_is_looked_at_itself(self, check):
        state = check.path.parent / ".aats"
        with StateDirectory(state):
            pass

        report = check("")

        assert row(report, "team").detail == f"state directory {state}"
        assert (state / "store.db").exists()

    def test_one_that_a_running_team_holds_is_left_alone(self, check):
        state = check.path.parent / ".aats"
        with StateDirectory(state):
            report = check("")

        assert row(report, "team").status is CheckStatus.DEGRADED
        assert f"process {os.getpid()}" in row(report, "team").detail
        assert row(report, "stores.primary").status is CheckStatus.OK
        assert not (state / "store.db").exists()

    def test_one_of_a_newer_version_is_down_and_left_alone(self, check):
        state = check.path.parent / ".aats"
        state.mkdir()
        (state / "format").write_text("999\n")

        report = check("")

        assert row(report, "team").status is CheckStatus.DOWN
        assert "upgrade aats-core" in row(report, "team").detail
        assert not (state / "store.db").exists()

    def test_one_that_cannot_be_is_down(self, check):
        found = check.row("team", "[team]\nstate_dir = 'team.toml/x'\n")

        assert found.status is CheckStatus.DOWN
        assert "set state_dir to another" in found.detail
