"""Where learned run times are kept."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest
from aats_agent_task_scheduler import durations as module
from aats_agent_task_scheduler.durations import COLLECTION, Durations
from aats_agent_task_scheduler.estimates import Estimates

from aats_core.clock import VirtualClock


def learned(*seconds: float) -> Estimates:
    estimates = Estimates()
    for each in seconds:
        estimates.learn("k", "build-1", "build", each)
    return estimates


def test_what_was_saved_is_loaded(records) -> None:
    estimates = learned(3.0, 5.0)
    asyncio.run(Durations(records, estimates, VirtualClock()).save())
    fresh = Estimates()

    asyncio.run(Durations(records, fresh, VirtualClock()).load())

    assert set(fresh.durations()) == set(estimates.durations())
    assert fresh.of("k", "build-7", "build") == 4.0


def test_a_document_says_when_it_was_written_and_goes_after_half_a_year(records) -> None:
    durations = Durations(records, learned(3.0), VirtualClock(1_700_000_000.0))
    asyncio.run(durations.load())
    asyncio.run(durations.save())

    document = records.collections[COLLECTION]["k build"]
    assert document["updated"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    (index,) = records.schemas[COLLECTION].indexes
    assert (index.fields, index.expire_after) == ({"updated": 1}, 180 * 86_400.0)


def test_only_what_changed_is_written_all_in_one_commit(records) -> None:
    estimates = learned(3.0)
    durations = Durations(records, estimates, VirtualClock())
    asyncio.run(durations.save())
    assert len(records.collections[COLLECTION]) == 3
    records.collections.clear()

    asyncio.run(durations.save())
    assert records.commits == 1

    estimates.learn("other", "a", "a", 1.0)
    asyncio.run(durations.save())
    assert set(records.collections[COLLECTION]) == {"other a", "other ", " "}


def test_a_store_that_is_away_costs_nothing_but_a_line_in_the_log(records, caplog) -> None:
    estimates = learned(3.0)
    durations = Durations(records, estimates, VirtualClock())
    records.down = True
    with caplog.at_level(logging.ERROR):
        asyncio.run(durations.load())
        for _ in range(5):
            asyncio.run(durations.save())
    assert [record.message.partition(" ")[0] for record in caplog.records] == ["run", "learned"]

    records.down = False
    asyncio.run(durations.save())

    assert records.collections[COLLECTION]["k build"]["mean"] == 3.0


def test_a_store_that_hangs_is_given_up_in_time(records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.01)
    durations = Durations(records, learned(3.0), VirtualClock())
    records.hangs = True

    asyncio.run(durations.load())
    asyncio.run(durations.save())

    records.hangs = False
    asyncio.run(durations.save())
    assert records.commits == 1


@pytest.mark.parametrize(
    "document",
    [
        {"_id": 1},
        {"_id": "k a", "kind": "k", "name": "a", "mean": "long", "count": 1},
        {"_id": "k a", "kind": "k", "name": "a", "mean": -3.0, "count": 1},
        {"_id": "k a", "kind": "k", "name": "a", "mean": 3.0, "count": 0},
    ],
)
def test_a_document_that_is_no_run_time_is_passed_over(records, document) -> None:
    asyncio.run(Durations(records, learned(3.0), VirtualClock()).save())
    updated = datetime(2023, 11, 14, tzinfo=UTC)
    records.collections[COLLECTION][document["_id"]] = {**document, "updated": updated}
    estimates = Estimates()

    asyncio.run(Durations(records, estimates, VirtualClock()).load())

    assert len(estimates.durations()) == 3
