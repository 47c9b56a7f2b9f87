"""The page on the team file is made from the settings models, and the committed one is what they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from aats_core.plugins import PluginKind, discover
from aats_core.team_reference import EMBEDDED, team_reference

PAGE = Path(__file__).parent.parent / "docs" / "team-file.md"


@pytest.fixture(scope="module")
def page() -> str:
    return team_reference()


def test_the_committed_page_is_up_to_date(page):
    assert PAGE.read_text() == page, "run: python -m aats_core.team_reference > docs/team-file.md"


def test_every_embedded_plugin_has_its_section(page):
    for names in EMBEDDED.values():
        for name in names:
            assert f"plugin `{name}`\n" in page


def test_the_extra_for_the_embedded_team_brings_what_the_page_is_about():
    plugins = {f"aats-{kind}-{name}" for kind, names in EMBEDDED.items() for name in names}
    project = (PAGE.parent.parent / "pyproject.toml").read_text()
    embedded = project.partition("embedded = [")[2].partition("]")[0]

    assert {line.strip(' ",') for line in embedded.split()} == plugins


def test_what_else_is_installed_makes_no_difference(page, site):
    site.add("acme", {"aats.agents": {"other": "m:X"}, "aats.integrations": {"jira": "m:J"}})

    assert len(discover().plugins) > len(EMBEDDED)
    assert team_reference(discover()) == page


@pytest.mark.parametrize(
    "row",
    [
        '| `namespace` | text | `"aats"` |',
        "| `grace` | time, at least 0 | `30.0` |",
        '| `log_level` | one of `"debug"`, `"info"`, `"warning"`, `"error"` | `"info"` |',
        "| `resources` | table of number | `{}` | What its tasks may take together, by name. For example `{ cpu",
        "| `retries.limit` | integer, at least 0 | `3` |",
    ],
)
def test_a_row_says_key_type_default_and_meaning(page, row):
    assert row in page


def test_a_plugin_s_section_leaves_out_what_every_section_holds(page):
    memory = page.partition("## `[broker]` of plugin `memory`")[2].partition("\n## ")[0]

    assert "`capacity`" in memory
    assert "`lease`" not in memory


def test_fields_of_every_type_are_put_in_words(site, monkeypatch):
    source = """
        from typing import Annotated, Any, Literal
        from pydantic import Field, SecretStr
        from aats_core import Broker, BrokerSettings, Seconds
        class S(BrokerSettings):
            need: str
            secret: SecretStr = SecretStr("")
            flag: bool = False
            both: int | str | None = None
            times: list[Seconds] = []
            some: Any = None
            table: dict[str, Any] = {}
            bar: Annotated[str, Field(description="a | b", examples=["x"])] = "|"
        class B(Broker):
            Settings = S
            connect = close = publish = publish_many = subscribe = dead_letter = topics = None
            dead_letters = replay = purge = health = None
    """
    site.add("acme-b", {"aats.brokers": {"memory": "acme_b:B"}}, modules={"acme_b": source})
    for kind in PluginKind:
        monkeypatch.setitem(EMBEDDED, kind, ("memory",) if kind is PluginKind.BROKER else ())

    page = team_reference(site.catalog())

    for row in (
        "| `need` | text | required |  |",
        '| `secret` | secret | `""` |  |',
        "| `flag` | `true` or `false` | `false` |  |",
        "| `both` | integer or text |  |  |",
        "| `times` | list of time | `[]` |  |",
        "| `some` | any value |  |  |",
        "| `table` | table | `{}` |  |",
        '| `bar` | text | `"\\|"` | a \\| b For example `"x"`. |',
    ):
        assert row in page
