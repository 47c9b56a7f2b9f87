"""Where groups are: found, created, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest

from aats_broker_kafka.driver import BACKOFF, EARLIEST, LATEST, Driver, Refused, TopicPartition
from aats_broker_kafka.membership import check_commit, commit_request
from aats_broker_kafka.topics import Topics
from aats_core.errors import BrokerUnavailable


class Start(NamedTuple):
    """Where a group goes on in a partition, what is noted there, and where the partition ends now, as far as known."""

    offset: int
    note: str
    end: int


async def committed(
    driver: Driver, group: str, places: Iterable[TopicPartition] | None = None
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the offsets that a group has stored, with their notes; of all partitions where none are named."""
    wanted: dict[str, list[int]] | None = None
    if places is not None:
        wanted = {}
        for place in places:
            wanted.setdefault(place.topic, []).append(place.partition)
    request = OffsetFetchRequest(group, None if wanted is None else list(wanted.items()))
    answer = await driver.ask_coordinator(group, request, "committed offsets")
    if answer.error_code:
        driver.forget_coordinator(group)
        raise BrokerUnavailable(f"group {group}: its coordinator is not ready (error {answer.error_code})")
    return {
        TopicPartition(topic, partition): (offset, note)
        for topic, partitions in answer.topics
        for partition, offset, note, _ in partitions
        if offset >= 0
    }


async def starts(driver: Driver, group: str, places: set[TopicPartition]) -> dict[TopicPartition, Start]:
    """Return where a group goes on: from the first message where a partition is younger than the group."""
    stored = await committed(driver, group, places)
    begins = await driver.offsets([place for place in places if place not in stored], EARLIEST)
    try:
        ends = await driver.offsets(places, LATEST)
    except BrokerUnavailable:  # a leader has died; that is no reason to share everything out once more
        ends = {}
    found = {}
    for place in places:
        offset, note = stored.get(place) or (begins[place], "")
        found[place] = Start(offset, note, ends.get(place, offset))
    return found


async def create_group(driver: Driver, topics: Topics, group: str, pattern: str, *, anew: bool) -> None:
    """Make a group exist from now on, unless it does: it gets what is published to its topics later.

    That it exists is stored as an offset of the control topic; `anew` lets it begin at the end once more.
    """
    marker = TopicPartition(topics.control, 0)
    while True:
        stored = await committed(driver, group)
        if marker in stored and not anew:
            return
        await driver.refresh()
        ends = await driver.offsets(topics.matching(pattern), LATEST)
        offsets = {place: (end, "") for place, end in ends.items()} | {marker: (0, "")}
        answer = await driver.ask_coordinator(group, commit_request(group, -1, "", offsets), "create a group")
        try:
            check_commit(answer, group)
            break
        except Refused:  # another client has created it, and is a member already; or its coordinator has moved
            driver.forget_coordinator(group)
            anew = False
            await asyncio.sleep(BACKOFF)


async def delete_group(driver: Driver, group: str) -> None:
    """End a group that has no members."""
    await driver.ask_coordinator(group, DeleteGroupsRequest([group]), "delete a group")
