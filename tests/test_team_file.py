"""The team file: its layers, defaults and secrets, and everything that can be wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import SettingsError
from aats_core.layers import read_override
from aats_core.secrets import redact
from aats_core.team_file import TeamFile, load_team_file


class Loader:
    """Writes a team file and loads it with the plugins of the `parts` fixture."""

    def __init__(self, directory: Path, catalog) -> None:
        self.path = directory / "team.toml"
        self._catalog = catalog

    def __call__(self, text: str = "", *overrides: str, **environ: str) -> TeamFile:
        self.path.write_text(dedent(text))
        return load_team_file(self.path, overrides=overrides, environ=environ, catalog=self._catalog)

    def problems(self, text: str = "", *overrides: str, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            self(text, *overrides, **environ)
        return str(caught.value).replace(f"{self.path}", "team.toml").splitlines()

    def problem(self, text: str = "", *overrides: str, **environ: str) -> str:
        (problem,) = self.problems(text, *overrides, **environ)
        return problem


@pytest.fixture
def load(tmp_path, parts) -> Loader:
    return Loader(tmp_path, parts)


PIP = "to install it: pip install aats-"
BUILD = """
    [agents.build]
    plugin = "shell"
"""


class TestDefaults:
    def test_an_empty_file_is_the_embedded_team(self, load):
        team_file = load("")

        assert [(section.title, section.plugin.name) for section in team_file.sections] == [
            ("broker", "memory"),
            ("stores.primary", "sqlite"),
            ("agents.project-manager", "project-manager"),
            ("agents.task-scheduler", "task-scheduler"),
        ]
        assert team_file.team.namespace == "aats"
        assert team_file.broker.settings.plugin == "memory"

    def test_the_plugin_of_an_agent_or_integration_is_its_name(self, load):
        team_file = load("[agents.shell]\n[integrations.jira]\nsite = 'x'\n")

        assert team_file.agents["shell"].plugin.name == team_file.agents["shell"].settings.plugin == "shell"
        assert team_file.integrations["jira"].cls.__name__ == "Jira"

    def test_the_plugin_of_a_store_is_sqlite_and_no_other_store_is_added(self, load):
        team_file = load("[stores.cache]\ntimeout = 3\n")

        assert list(team_file.stores) == ["cache"]
        assert team_file.stores["cache"].plugin.name == "sqlite"

    def test_sections_come_in_the_order_in_which_they_depend_on_each_other(self, load):
        text = "[agents.shell]\n[integrations.jira]\nsite = 'x'\n[stores.b]\n[stores.a]\n[broker]\n"

        assert [section.title for section in load(text).sections] == [
            "broker",
            "stores.b",
            "stores.a",
            "integrations.jira",
            "agents.project-manager",
            "agents.task-scheduler",
            "agents.shell",
        ]

    def test_what_the_file_says_is_told_from_what_is_a_default(self, load):
        assert load(BUILD + "allow = ['git']").agents["build"].given == {"plugin", "allow"}

    def test_the_state_directory_lies_beside_the_file(self, load, tmp_path):
        assert load("[team]\nstate_dir = 'state'\n").state_dir == tmp_path / "state"
        assert load("[team]\nstate_dir = '/var/lib/team'\n").state_dir == Path("/var/lib/team")

    def test_only_what_is_named_is_imported(self, load, site):
        site.add("acme-bad", {"aats.agents": {"bad": "acme_bad:B"}}, modules={"acme_bad": "raise RuntimeError('no')"})

        assert load("")


class TestEnvironment:
    def test_replaces_what_the_file_says(self, load):
        team_file = load("[team]\nnamespace = 'file'\nname = 'kept'\n", AATS_TEAM__NAMESPACE="outside")

        assert (team_file.team.namespace, team_file.team.name) == ("outside", "kept")

    def test_values_are_toml_or_else_text(self, load):
        variables = {
            "AATS_BROKER__CAPACITY": "7",
            "AATS_BROKER__SERVERS": '["a", "b"]',
            "AATS_STORES__PRIMARY__DSN": "postgres://host/db",
            "AATS_TEAM__GRACE": "90s",
        }

        team_file = load("", **variables)

        assert team_file.broker.settings.capacity == 7
        assert team_file.broker.settings.servers == ["a", "b"]
        assert team_file.stores["primary"].settings.dsn == "postgres://host/db"
        assert team_file.team.grace == 90.0

    @pytest.mark.parametrize("text", ["12345", "true", "1979-05-27", "[1]", "0x10", '"quoted', "a = b"])
    def test_what_looks_like_a_number_is_text_where_text_is_wanted(self, load, text):
        team_file = load("", AATS_BROKER__NOTE=text, AATS_BROKER__PASSWORD=f"{text}{text}", AATS_BROKER__CAPACITY="8")

        assert team_file.broker.settings.note == text
        assert team_file.broker.settings.password.get_secret_value() == f"{text}{text}"
        assert team_file.broker.settings.capacity == 8

    @pytest.mark.parametrize("name", ["code-review", "code_review", "Code-Review"])
    def test_an_underscore_stands_for_what_the_section_has_in_its_place(self, load, name):
        text = f"[agents.{name}]\nplugin = 'shell'\n"

        assert load(text, AATS_AGENTS__CODE_REVIEW__REPLICAS="4").agents[name].settings.replicas == 4

    def test_an_underscore_stands_for_a_dash_where_there_is_no_such_section(self, load):
        team_file = load("", AATS_AGENTS__CODE_REVIEW__PLUGIN="shell", AATS_AGENTS__TASK_SCHEDULER__MAILBOX="5")

        assert set(team_file.agents) == {"project-manager", "task-scheduler", "code-review"}
        assert team_file.agents["task-scheduler"].settings.mailbox == 5

    def test_reaches_into_tables(self, load):
        settings = load(BUILD, AATS_AGENTS__BUILD__RETRIES__LIMIT="9").agents["build"].settings

        assert (settings.retries.limit, settings.retries.factor) == (9, 2.0)

    def test_a_secret_in_the_file_is_replaced_whole(self, load):
        text = "[broker]\npassword = { file = 'nowhere' }\n"
        variables = {"AATS_BROKER__PASSWORD": '{ env = "BROKER_PW" }', "BROKER_PW": "from-the-outside"}

        assert load(text, **variables).broker.settings.password.get_secret_value() == "from-the-outside"

    @pytest.mark.parametrize(("value", "rest"), [("5", {}), ("[1]", {}), ('{ y = "1", x = 2 }', {"y": "1"})])
    def test_a_key_of_a_table_counts_above_the_table(self, load, value, rest):
        variables = {"AATS_AGENTS__BUILD__LABELS": value, "AATS_AGENTS__BUILD__LABELS__X": "6"}

        assert load(BUILD, **variables).agents["build"].settings.labels == {"x": "6", **rest}

    def test_a_wrong_value_in_a_table_is_reported_where_it_is(self, load):
        problem = load.problem(BUILD, AATS_AGENTS__BUILD__RETRIES="{ limit = 3, factor = 0 }")

        assert problem.startswith("team.toml: [agents.build] retries.factor: it must be greater than or equal to 1")

    def test_a_whole_section_may_be_set(self, load):
        team_file = load("[stores.primary]\nfault = 'x'\n", AATS_STORES__PRIMARY='{ dsn = "y" }')

        assert (team_file.stores["primary"].settings.dsn, team_file.stores["primary"].settings.fault) == ("y", "x")

    def test_a_whole_section_that_is_wrong_is_reported(self, load):
        problems = load.problems("", AATS_STORES__PRIMARY="{ dsn = 1 }", AATS_STORES__CACHE="x", AATS_BROKER="ignored")

        assert problems == [
            "team.toml: [stores.cache] it must be a table; a section of its own is [stores.cache]",
            "team.toml: [stores.primary] dsn: it must be text",
        ]

    def test_a_key_within_what_is_no_table_is_refused(self, load):
        problem = load.problem("[team]\nname = 'x'\n", AATS_TEAM__NAME__FIRST="5")

        assert problem.startswith("team.toml: [team] name: it must be text")

    def test_variables_of_others_are_left_alone(self, load):
        assert load("", AATS_CONFIG="x", AATS_TEST_POSTGRES_URL="y", OTHER__TEAM__NAME="z").team.name == "team"

    def test_an_unknown_section_is_reported_by_variable(self, load):
        problem = load.problem("", AATS_AGENT__BUILD__REPLICAS="4")

        assert problem == "AATS_AGENT__BUILD__REPLICAS: unknown section 'agent'; did you mean 'agents'?"

    def test_a_wrong_value_is_reported_with_its_variable(self, load):
        problem = load.problem(BUILD, AATS_AGENTS__BUILD__REPLICAS="many")

        assert problem.startswith("team.toml: [agents.build] replicas: it must be a whole number")
        assert problem.endswith("(set by AATS_AGENTS__BUILD__REPLICAS)")


class TestOverrides:
    def test_count_above_the_environment(self, load):
        team_file = load("[team]\nname = 'a'\n", "team.name=c", AATS_TEAM__NAME="b")

        assert team_file.team.name == "c"

    def test_the_last_of_several_counts(self, load):
        assert load("", "team.name=a", "team.name=b").team.name == "b"

    def test_make_sections(self, load):
        assert load("", "agents.build.plugin=shell").agents["build"].plugin.name == "shell"

    def test_a_key_with_a_dot_is_quoted(self, load):
        settings = load(BUILD, 'agents.build.labels."cost.center"=a=b', "agents.build.labels.'x=y'=z").agents["build"]

        assert settings.settings.labels == {"cost.center": "a=b", "x=y": "z"}

    def test_a_whole_table_can_be_given(self, load):
        settings = load(BUILD, "agents.build.resources={ cpu = 2 }").agents["build"].settings

        assert settings.resources == {"cpu": 2}

    @pytest.mark.parametrize("text", ["", "x", "team.name", "name=x", "=x", "team..name=x", "a b.c=x", "a.b\nc.d=x"])
    def test_what_names_no_field_is_refused(self, load, text):
        assert "write it as section.field=value" in "\n".join(load.problems("", text))

    def test_an_unknown_section_or_key_is_reported(self, load):
        assert load.problems("", "brokr.plugin=x", "broker.plugn=x") == [
            "--set brokr.plugin: unknown section 'brokr'; did you mean 'broker'?",
            "team.toml: [broker] plugn: unknown key 'plugn'; did you mean 'plugin'? (set by --set broker.plugn)",
        ]

    @given(st.text())
    def test_any_text_is_taken_or_refused(self, text):
        try:
            setting = read_override(text)
        except SettingsError:
            return
        assert len(setting.path) >= 2

    @given(st.text())
    def test_any_value_is_taken(self, value):
        assert read_override(f"team.name={value}").text == value.strip()


class TestSecrets:
    @pytest.fixture(autouse=True)
    def secret_file(self, tmp_path):
        (tmp_path / "pw").write_text("file-secret-1\n")
        (tmp_path / "crlf").write_bytes(b"file-secret-2\r\n")
        (tmp_path / "two").write_text("file-secret-3\n\n")

    @pytest.mark.parametrize(
        ("reference", "value"),
        [
            ('{ env = "BROKER_PW" }', "env-secret-1"),
            ('{ file = "pw" }', "file-secret-1"),
            ('{ file = "crlf" }', "file-secret-2"),
            ('{ file = "two" }', "file-secret-3\n"),
        ],
    )
    def test_are_read_where_the_file_says(self, load, reference, value):
        settings = load(f"[broker]\npassword = {reference}\n", BROKER_PW="env-secret-1").broker.settings

        assert settings.password.get_secret_value() == value
        assert redact(f"<{value.strip()}>") == "<**********>"

    def test_an_absolute_path_is_taken_as_it_is(self, load, tmp_path):
        text = f"[broker]\npassword = {{ file = '{tmp_path / 'pw'}' }}\n"

        assert load(text).broker.settings.password.get_secret_value() == "file-secret-1"

    def test_may_stand_for_any_value_and_within_lists_and_tables(self, load):
        text = """
            [broker]
            servers = ["plain", { env = "SERVER" }]
            capacity = { env = "CAPACITY" }
            note = { env = "NOTE" }
            [agents.build]
            plugin = "shell"
            labels = { a = { env = "LABEL" }, b = "c" }
        """

        team_file = load(text, SERVER="server-secret", CAPACITY="4711", NOTE="note-secret", LABEL="label-secret")

        assert team_file.broker.settings.servers == ["plain", "server-secret"]
        assert team_file.broker.settings.capacity == 4711
        assert team_file.agents["build"].settings.labels == {"a": "label-secret", "b": "c"}
        assert "secret" not in redact(repr(team_file.broker.settings) + repr(team_file.agents["build"].settings))

    def test_one_that_stands_in_the_file_itself_is_masked_too(self, load):
        load("[broker]\npassword = 'literal-secret-9'\n")

        assert redact("it was literal-secret-9") == "it was **********"

    def test_a_variable_that_is_not_set_is_reported_alone(self, load):
        problem = load.problem("[broker]\npassword = { env = 'GONE_PW' }\n")

        assert problem == "team.toml: [broker] password: the environment variable GONE_PW is not set"

    def test_a_required_value_whose_secret_is_missing_is_reported_once(self, load):
        problem = load.problem("[integrations.jira]\nsite = { env = 'JIRA_SITE' }\n")

        assert problem == "team.toml: [integrations.jira] site: the environment variable JIRA_SITE is not set"

    def test_a_file_that_cannot_be_read_is_reported(self, load, tmp_path):
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        text = "[broker]\npassword = { file = 'gone' }\nnote = { file = '.' }\nservers = [{ file = 'binary' }]\n"

        assert load.problems(text) == [
            f"team.toml: [broker] password: the file {tmp_path}/gone cannot be read: No such file or directory",
            f"team.toml: [broker] note: the file {tmp_path} cannot be read: Is a directory",
            f"team.toml: [broker] servers[0]: the file {tmp_path}/binary is not UTF-8 text",
        ]

    def test_a_file_that_is_too_large_for_a_secret_is_refused(self, load):
        assert "/dev/zero is larger than a secret may be" in load.problem("[broker]\nnote = { file = '/dev/zero' }\n")

    def test_a_file_in_the_home_directory(self, load, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))

        team_file = load("[team]\nstate_dir = '~/state'\n[broker]\nnote = { file = '~/pw' }\n")

        assert team_file.broker.settings.note == "file-secret-1"
        assert team_file.state_dir == tmp_path / "state"

    def test_a_file_in_the_home_directory_of_nobody_is_reported(self, load):
        text = "[broker]\nnote = { file = '~nobody-has-this-name/pw' }\n"

        assert "[broker] note: the file ~nobody-has-this-name/pw cannot be found" in load.problem(text)

    def test_a_table_with_other_keys_is_no_secret(self, load):
        text = BUILD + "labels = { env = 'prod', file = 'x' }\n"

        assert load(text).agents["build"].settings.labels == {"env": "prod", "file": "x"}

    def test_an_error_does_not_show_a_secret(self, load):
        text = "[broker]\ncapacity = { env = 'NUMBER' }\nplugin = 'memory'\npassword = ['inline-secret-7']\n"

        problems = "\n".join(load.problems(text, NUMBER="not-a-number-9"))

        assert "[broker] capacity: it must be a whole number" in problems
        assert "not-a-number-9" not in problems
        assert "inline-secret-7" not in problems

    def test_a_time_that_is_wrong_does_not_show_what_it_came_from(self, load):
        problem = load.problem("[team]\ngrace = { env = 'GRACE' }\n", GRACE="grace-secret-5")

        assert "is not a time" in problem
        assert "grace-secret-5" not in problem


class TestWhatIsWrong:
    def test_malformed_toml_is_reported_with_its_line(self, load):
        problem = load.problem("[team]\nname = 'x'\nnamespace =\n")

        assert problem.startswith("team.toml:3: not valid TOML: ")

    def test_toml_that_ends_too_early_is_reported_with_its_last_line(self, load):
        assert load.problem("[team]\nname = [\n1,\n").startswith("team.toml:3: not valid TOML: ")

    def test_a_malformed_file_does_not_show_its_secrets(self, load):
        load("[broker]\npassword = 'torn-secret-3'\n")

        assert "torn-secret-3" not in load.problem("[broker]\npassword = torn-secret-3\n")

    def test_a_missing_file_or_a_directory_is_reported(self, tmp_path):
        with pytest.raises(SettingsError, match=r"gone\.toml: there is no such file$"):
            load_team_file(tmp_path / "gone.toml")
        with pytest.raises(SettingsError, match=r"it cannot be read: Is a directory$"):
            load_team_file(tmp_path)

    def test_a_file_that_is_not_text_is_reported(self, tmp_path):
        (tmp_path / "team.toml").write_bytes(b"[team]\nname = '\xff'\n")

        with pytest.raises(SettingsError, match="it is not UTF-8 text: byte 15 is 0xff"):
            load_team_file(tmp_path / "team.toml")

    def test_endless_nesting_is_reported(self, load):
        assert "nested too deeply" in load.problem(f"x = {'[' * 100_000}")

    def test_everything_is_reported_at_once(self, load):
        text = """
            [team]
            namspace = "acme"
            grace = -1
            [agent.build]
            [broker]
            plugin = "memry"
            [stores.primary]
            plugin = 3
            [agents.build]
            plugin = "shell"
            alow = ["git"]
            allow = ["git", 3]
            replicas = 0
            [agents."a.b"]
            plugin = "shell"
            [integrations.jira]
            [integrations.slack]
        """

        assert load.problems(text) == [
            "team.toml: [agent] unknown section 'agent'; did you mean 'agents'?",
            "team.toml: [team] grace: must not be negative",
            "team.toml: [team] namspace: unknown key 'namspace'; did you mean 'namespace'?",
            "team.toml: [broker] plugin: no broker plugin 'memry' is installed (near: memory); " + PIP + "broker-memry",
            "team.toml: [stores.primary] plugin: it must be the name of a plugin",
            "team.toml: [integrations.jira] site: it is missing",
            "team.toml: [integrations.slack] plugin: no integration plugin 'slack' is installed; "
            + PIP
            + "integration-slack",
            "team.toml: [agents.build] replicas: it must be greater than or equal to 1",
            "team.toml: [agents.build] allow[1]: it must be text",
            "team.toml: [agents.build] alow: unknown key 'alow'; did you mean 'allow'?",
            "team.toml: [agents.a.b] its name may hold letters, digits, dashes and underscores only",
        ]

    def test_an_unknown_key_within_a_table_is_reported_with_a_near_one(self, load):
        problem = load.problem("[agents.build]\nplugin = 'shell'\nretries = { limt = 3 }\n")

        assert problem == "team.toml: [agents.build] retries.limt: unknown key 'limt'; did you mean 'limit'?"

    def test_an_unknown_key_with_nothing_near_is_reported_with_those_there_are(self, load):
        problem = load.problem("[stores.primary]\nzzz-9 = 3\n")

        assert problem.endswith("zzz-9: unknown key 'zzz-9'; known are dsn, fault, plugin, timeout")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("broker = 'nats'", "[broker] it must be a table"),
            ("agents = []", "[agents] it must be a table"),
            ("[agents]\nbuild = 3", "[agents.build] it must be a table; a section of its own is [agents.build]"),
            ("[[team]]", "[team] it must be a table"),
            ("[stores]\nplugin = 'x'", "[stores.plugin] it must be a table; a section of its own is [stores.plugin]"),
        ],
    )
    def test_what_should_be_a_table_and_is_none_is_reported(self, load, text, problem):
        assert load.problem(text) == f"team.toml: {problem}"

    def test_a_plugin_that_raises_on_import_is_reported_by_section(self, load, site):
        site.add("acme-bad", {"aats.agents": {"bad": "acme_bad:B"}}, modules={"acme_bad": "raise RuntimeError('no')"})
        loader = Loader(load.path.parent, site.catalog())

        problem = loader.problem("[agents.bad]\n")

        assert problem.startswith(
            "team.toml: [agents.bad] plugin: agent plugin 'bad' (acme-bad 1.0) cannot be imported"
        )
        assert f"RuntimeError: no (at {site.path}/acme_bad.py:1)" in problem

    def test_a_settings_model_that_fails_is_reported_by_section(self, load, site):
        source = """
            from pydantic import field_validator
            from aats_core import Agent, AgentSettings
            class S(AgentSettings):
                token: str = ""
                @field_validator("token")
                def check(cls, value): return {}[value]
            class A(Agent):
                Settings = S
        """
        site.add("acme-bad", {"aats.agents": {"bad": "acme_bad:A"}}, modules={"acme_bad": source})
        loader = Loader(load.path.parent, site.catalog())

        problem = loader.problem("[agents.bad]\ntoken = { env = 'TOKEN' }\n", TOKEN="model-secret-8")

        assert problem == "team.toml: [agents.bad] S failed to check it: KeyError: '**********'"

    @pytest.mark.parametrize("value", ["nan", "inf", "true", "'soon'", "[]", "-1", "1e300"])
    def test_what_is_no_time_is_refused(self, load, value):
        assert load.problem(f"[team]\nlease = {value}\n").startswith("team.toml: [team] lease: ")

    @pytest.mark.parametrize(("value", "seconds"), [("5", 5.0), ("0.5", 0.5), ("'90s'", 90.0), ("'1h30m'", 5400.0)])
    def test_a_time_is_a_number_of_seconds_or_text(self, load, value, seconds):
        assert load(f"[team]\nlease = {value}\n").team.lease == seconds


def test_the_real_environment_counts_where_none_is_given(load, monkeypatch, parts):
    load("")
    monkeypatch.setitem(os.environ, "AATS_TEAM__NAME", "of-the-shell")

    assert load_team_file(load.path, catalog=parts).team.name == "of-the-shell"
