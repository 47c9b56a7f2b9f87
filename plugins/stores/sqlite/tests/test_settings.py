"""What a team file may say of a SQLite store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aats_store_sqlite.settings import SqliteSettings
from pydantic import ValidationError


def test_times_may_be_written_as_people_write_them() -> None:
    settings = SqliteSettings(timeout="2s", transaction_timeout="1m30s", expiry_interval="5m")

    assert (settings.timeout, settings.transaction_timeout, settings.expiry_interval) == (2.0, 90.0, 300.0)


@pytest.mark.parametrize(
    "section",
    [
        {"readers": 0},
        {"readers": 65},
        {"transaction_timeout": 0},
        {"transaction_timeout": "soon"},
        {"expiry_interval": "-5s"},
        {"file": "store.db"},
    ],
)
def test_what_makes_no_sense_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SqliteSettings(**section)


@pytest.mark.parametrize(("path", "file"), [(None, "store.db"), ("data.db", "data.db"), ("{elsewhere}/x.db", None)])
def test_the_file_lies_in_the_state_directory_unless_its_path_is_absolute(
    path: str | None, file: str | None, open_store: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    settings = {"path": path.format(elsewhere=elsewhere)} if path else {}

    async def scenario() -> None:
        async with open_store(**settings) as store:
            await store.capabilities[0].insert("a", {"_id": 1})

    asyncio.run(scenario())

    assert (tmp_path / file if file else elsewhere / "x.db").exists()


def test_teams_of_different_namespaces_share_a_file_and_nothing_in_it(open_store: Any) -> None:
    async def scenario() -> None:
        async with open_store(namespace="one") as one, open_store(namespace="two") as two:
            for part, store in ((1, one), (2, two)):
                records, keys, graphs = store.capabilities
                await records.insert("a", {"_id": "same", "from": part})
                await keys.put("same", part)
                await graphs.put_node("g", "same", {"from": part})
            for part, store in ((1, one), (2, two)):
                records, keys, graphs = store.capabilities
                assert await records.find("a") == [{"_id": "same", "from": part}]
                assert await keys.get("same") == part
                assert await graphs.node("g", "same") == {"from": part}

    asyncio.run(scenario())
