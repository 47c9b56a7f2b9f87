"""The JSON Schema of a team file accepts what is loaded and refuses what is not."""

from __future__ import annotations

import tomllib
from textwrap import dedent

import pytest
from jsonschema import Draft202012Validator

from aats_core.errors import SettingsError
from aats_core.team_file import load_team_file
from aats_core.team_schema import DIALECT, team_schema

GOOD = [
    "",
    "[team]\nname = 'x'\ngrace = '30s'\nstate_dir = 'state'\nlog_level = 'debug'\n",
    "[broker]\n",
    "[broker]\nplugin = 'memory'\npassword = 'pw'\nservers = ['a', { env = 'PW' }]\n",
    "[broker]\npassword = { env = 'PW' }\ncapacity = { env = 'NUMBER' }\nlease = 4\n",
    "[stores.primary]\ndsn = { file = 'pw' }\n[stores.cache]\nplugin = 'sqlite'\ntimeout = '1m'\n",
    "[agents.shell]\nreplicas = 2\nallow = ['git']\nwait = '1h30m'\nresources = { cpu = 2 }\n",
    "[agents.build]\nplugin = 'shell'\nretries = { limit = 1, backoff = '5s' }\nlabels = { a = 'b' }\n",
    "[agents.build]\nplugin = 'shell'\nlabels = { a = { env = 'PW' } }\n",
    "[agents.shell]\nplugin = 'project-manager'\n",
    "[integrations.jira]\nsite = 'x'\n[integrations.other]\nplugin = 'jira'\nsite = { env = 'PW' }\n",
]

BAD = [
    "[tema]\n",
    "[team]\nnamspace = 'x'\n",
    "[team]\ngrace = -1\n",
    "[team]\nlease = 0\n",
    "[team]\ngrace = 'soon'\n",
    "[team]\nlog_level = 'loud'\n",
    "[team]\nnamespace = 'Not Good'\n",
    "broker = 'memory'\n",
    "[broker]\nplugin = 'nats'\n",
    "[broker]\ncapacity = 'many'\n",
    "[broker]\npassword = { env = 'A', file = 'B' }\n",
    "[broker]\npassword = { vault = 'A' }\n",
    "[stores.primary]\nallow = []\n",
    "[stores.'a.b']\n",
    "[agents.build]\n",
    "[agents.build]\nplugin = 'sqlite'\n",
    "[agents.shell]\nreplicas = 0\n",
    "[agents.shell]\nreplicas = 1.5\n",
    "[agents.shell]\nallow = 'git'\n",
    "[agents.shell]\nretries = { limt = 1 }\n",
    "[agents]\nshell = 3\n",
    "[integrations.jira]\n",
    "[integrations.slack]\n",
]


@pytest.fixture
def validator(parts) -> Draft202012Validator:
    return Draft202012Validator(team_schema(parts))


@pytest.fixture
def loads(parts, tmp_path):
    """Return a function that tells whether a text is loaded as a team file."""
    (tmp_path / "pw").write_text("secret-of-schema")

    def check(text: str) -> bool:
        (tmp_path / "team.toml").write_text(text)
        try:
            load_team_file(tmp_path / "team.toml", environ={"PW": "secret-of-schema", "NUMBER": "3"}, catalog=parts)
        except SettingsError:
            return False
        return True

    return check


@pytest.mark.parametrize("text", GOOD)
def test_what_is_loaded_is_valid(validator, loads, text):
    assert loads(text)
    assert list(validator.iter_errors(tomllib.loads(text))) == []


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_loaded_is_not_valid(validator, loads, text):
    assert not loads(text)
    assert not validator.is_valid(tomllib.loads(text))


def test_is_a_schema_of_its_dialect(parts):
    schema = team_schema(parts)

    assert schema["$schema"] == DIALECT
    Draft202012Validator.check_schema(schema)


def test_of_the_installed_plugins_is_a_schema_too():
    Draft202012Validator.check_schema(team_schema())


def test_of_no_plugins_allows_a_team_section_alone(site):
    validator = Draft202012Validator(team_schema(site.catalog()))

    assert validator.is_valid({"team": {"name": "x"}})
    assert not validator.is_valid({"agents": {"shell": {}}})


def test_fields_have_their_descriptions_defaults_and_examples(site):
    source = """
        from typing import Annotated
        from pydantic import Field
        from aats_core import Agent, AgentSettings
        class S(AgentSettings):
            depth: Annotated[int, Field(ge=1, le=9, description="How deep.", examples=[3])] = 2
        class A(Agent):
            Settings = S
    """
    site.add("acme", {"aats.agents": {"a": "acme_a:A"}}, modules={"acme_a": dedent(source)})

    field = team_schema(site.catalog())["$defs"]["S"]["properties"]["depth"]

    assert field == {
        "description": "How deep.",
        "default": 2,
        "examples": [3],
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"$ref": "#/$defs/secret"}],
    }


def test_models_of_one_name_in_two_plugins_are_kept_apart(site):
    source = """
        from aats_core import Agent, AgentSettings
        class Settings(AgentSettings):
            {field}: int = 0
        class A(Agent):
            Settings = Settings
    """
    for name in ("one", "two"):
        modules = {f"acme_{name}": dedent(source).format(field=name)}
        site.add(f"acme-{name}", {"aats.agents": {name: f"acme_{name}:A"}}, modules=modules)

    validator = Draft202012Validator(team_schema(site.catalog()))

    assert validator.is_valid({"agents": {"one": {"one": 1}, "two": {"two": 1}}})
    assert not validator.is_valid({"agents": {"one": {"two": 1}}})


def test_an_enumeration_may_be_a_secret_too(site):
    source = """
        from enum import StrEnum
        from aats_core import Agent, AgentSettings
        class Level(StrEnum):
            LOW = "low"
        class S(AgentSettings):
            level: Level = Level.LOW
            other: Level | None = None
        class A(Agent):
            Settings = S
    """
    site.add("acme", {"aats.agents": {"a": "acme_a:A"}}, modules={"acme_a": dedent(source)})
    validator = Draft202012Validator(team_schema(site.catalog()))

    assert validator.is_valid({"agents": {"a": {"level": "low", "other": {"env": "X"}}}})
    assert validator.is_valid({"agents": {"a": {"level": {"file": "x"}, "other": "low"}}})
    assert not validator.is_valid({"agents": {"a": {"level": "high"}}})


def test_a_plugin_that_cannot_be_loaded_may_have_any_settings_and_says_why(site):
    site.add("acme-bad", {"aats.agents": {"bad": "acme_bad:B"}}, modules={"acme_bad": "raise RuntimeError('no')"})

    schema = team_schema(site.catalog())

    assert Draft202012Validator(schema).is_valid({"agents": {"bad": {"anything": 1}}})
    assert "RuntimeError: no" in schema["$defs"]["agent.bad"]["description"]
