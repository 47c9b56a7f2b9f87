"""Membership of a consumer group, with cooperative rebalancing: what stays with a member is read on without a pause."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import errors
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from aats_broker_kafka.assignment import (
    PROTOCOL,
    Claim,
    assign,
    decode_claim,
    decode_places,
    encode_claim,
    encode_places,
)
from aats_broker_kafka.driver import BACKOFF, Driver, Refused, TopicPartition, translated
from aats_broker_kafka.settings import KafkaSettings
from aats_core.errors import BrokerError, BrokerUnavailable

log = logging.getLogger(__name__)

LOOK = 30.0
"""Seconds between two looks whether somebody else has made topics or partitions."""

TRUST = 0.7
"""The share of the session, since the last sign of life that was answered, in which nobody else owns a partition."""

_EXPELLED = errors.UnknownMemberIdError.errno
_MOVED = {
    errors.GroupCoordinatorNotAvailableError.errno,
    errors.NotCoordinatorForGroupError.errno,
    errors.GroupLoadInProgressError.errno,
}
_AGAIN = {errors.RebalanceInProgressError.errno, errors.IllegalGenerationError.errno}
"""The group is being shared out anew, or was while this was under way: the coordinator knows the member still."""
_NAMED = 79  # MEMBER_ID_REQUIRED: the coordinator has given an id, to be joined with


class Owner(ABC):
    """Who reads the partitions that a membership brings, for so many consumers."""

    @abstractmethod
    def count(self) -> int:
        """Return how many consumers there are."""

    @abstractmethod
    async def places(self) -> list[TopicPartition]:
        """Return all partitions of the group."""

    @abstractmethod
    async def gained(self, places: set[TopicPartition]) -> None:
        """Begin with partitions."""

    @abstractmethod
    async def revoked(self, places: set[TopicPartition]) -> None:
        """Let partitions go, in good order: commits still count."""

    @abstractmethod
    def shared(self, generation: int) -> None:
        """Take note that everything was shared out anew."""

    @abstractmethod
    def lost(self) -> None:
        """Forget all partitions: they may be others' already."""


class Membership:
    """One member of a group. `joining` is a client of its own, since a join holds up all that is sent after it."""

    def __init__(
        self, settings: KafkaSettings, group: str, pattern: str, owner: Owner, *, plain: Driver, joining: Driver
    ) -> None:
        self._settings = settings
        self._group = group
        self._pattern = pattern
        self._owner = owner
        self._plain = plain
        self._joining = joining
        self._member = ""
        self._generation = -1
        self._leads = False
        self._known: list[TopicPartition] = []
        self.owned: set[TopicPartition] = set()
        """The partitions that are this member's."""
        self._again = asyncio.Event()
        self._proved = 0.0
        self.settled = asyncio.Event()
        """Set once the member has a share."""

    @property
    def generation(self) -> int:
        """How often the group was shared out."""
        return self._generation

    def look(self) -> None:
        """Notice that topics were made: the leader of the group shares all out anew."""
        if self._leads:
            self._again.set()

    def changed(self) -> None:
        """Tell the group that the number of consumers is another."""
        self._again.set()

    async def run(self) -> None:
        """Be a member until cancelled."""
        while True:
            try:
                await self._join()
                await self._beat()
            except Refused as error:
                self._refused(error)
                await asyncio.sleep(BACKOFF)
            except BrokerError:
                await asyncio.sleep(BACKOFF)
            except Exception:
                log.exception("group %s could not be kept; it is joined again", self._group)
                self._expelled()
                await asyncio.sleep(1)

    async def leave(self) -> None:
        """Say goodbye, so that others need not wait for the session to run out."""
        member, self._member, self._generation = self._member, "", -1
        if member:
            await self._plain.ask_coordinator(self._group, LeaveGroupRequest(self._group, member), "leave")

    @property
    def trusted(self) -> bool:
        """Whether the session cannot have run out: nobody else has its partitions, even if no answer comes just now."""
        return bool(self._member) and time.monotonic() < self._proved + TRUST * self._settings.session

    async def tell(self, offsets: dict[TopicPartition, tuple[int, str]]) -> Callable[[], Awaitable[None]]:
        """Send offsets with their notes, and return what awaits the answer; raises where that is not done at once."""
        member = self._member
        request = commit_request(self._group, self._generation, member, offsets)
        answer = await self._plain.tell_coordinator(self._group, request, "commit")

        async def confirm() -> None:
            with translated("commit"):
                answered = await answer
            self._checked(answered, member)

        return confirm

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        """Store offsets with their notes; raises where that is not certain, `Refused` where others may own them."""
        member = self._member
        request = commit_request(self._group, self._generation, member, offsets)
        self._checked(await self._plain.ask_coordinator(self._group, request, "commit"), member)

    def _checked(self, answer: Any, member: str) -> None:
        """Raise where a commit of that member was refused."""
        try:
            check_commit(answer, self._group)
        except Refused as error:
            if error.code != _EXPELLED or member == self._member:
                self._refused(error)
            raise

    async def _join(self) -> None:
        self._again.clear()
        owned = tuple((place.topic, place.partition) for place in sorted(self.owned))
        metadata = encode_claim(self._pattern, Claim(self._generation, owned, self._owner.count()))
        session = int(self._settings.session * 1000)
        request = JoinGroupRequest(
            self._group, session, session, self._member, None, "consumer", [(PROTOCOL, metadata)]
        )
        joined = await self._joining.ask_coordinator(self._group, request, "join")
        if joined.error_code == _NAMED:
            self._member = joined.member_id
            await self._join()
            return
        self._check(joined.error_code, "join")
        self._member, self._generation = joined.member_id, joined.generation_id
        self._leads = joined.leader_id == joined.member_id
        shares = await self._shares(joined) if self._leads else []
        sent = time.monotonic()
        sync = SyncGroupRequest(self._group, self._generation, self._member, None, shares)
        synced = await self._joining.ask_coordinator(self._group, sync, "sync")
        self._check(synced.error_code, "sync")
        self._proved = sent
        await self._take(decode_places(synced.member_assignment))

    async def _shares(self, joined: Any) -> list[tuple[str, bytes]]:
        claims = {member[0]: decode_claim(member[-1]) for member in joined.members}
        self._known = await self._owner.places()
        return [(member, encode_places(share)) for member, share in assign(self._known, claims).items()]

    async def _take(self, share: set[TopicPartition]) -> None:
        gone, new = self.owned - share, share - self.owned
        self.owned = share
        if gone:
            await self._owner.revoked(gone)
            self._again.set()
        if new:
            try:
                await self._owner.gained(new)
            except BaseException:
                self.owned = self.owned - new  # they are claimed anew with the next join
                raise
        self._owner.shared(self._generation)
        self.settled.set()

    async def _beat(self) -> None:
        """Give signs of life until the group has to be joined again.

        They take the way of joins, where no commit is before them that waits for a replica which has died.
        """
        look = time.monotonic() + LOOK
        while True:
            try:
                async with asyncio.timeout(self._settings.heartbeat):
                    await self._again.wait()
                return
            except TimeoutError:
                pass
            if await self._beat_once():
                return
            if time.monotonic() > look:
                look = time.monotonic() + LOOK
                if await self._has_more():
                    return

    async def _beat_once(self) -> bool:
        """Give a sign of life, and tell whether the group is being shared out anew."""
        sent = time.monotonic()
        request = HeartbeatRequest(self._group, self._generation, self._member)
        try:
            answer = await self._joining.ask_coordinator(
                self._group, request, "heartbeat", within=self._settings.session / 2
            )
        except BrokerUnavailable:
            return False
        if answer.error_code in _MOVED:  # to a node that knows the group's members, or will
            self._plain.forget_coordinator(self._group)
            return False
        if answer.error_code not in _AGAIN:
            self._check(answer.error_code, "heartbeat")
        self._proved = sent
        return answer.error_code in _AGAIN

    async def _has_more(self) -> bool:
        """Tell whether there are partitions that were not there when this member shared all out."""
        try:
            await self._plain.refresh()
            return self._leads and await self._owner.places() != self._known
        except BrokerUnavailable:
            return False

    def _check(self, code: int, what: str) -> None:
        if code:
            raise Refused(code, f"{what} of group {self._group}")

    def _refused(self, error: Refused) -> None:
        if error.code == _EXPELLED:
            self._expelled()
        elif error.code in _MOVED:
            self._plain.forget_coordinator(self._group)
        elif error.code not in _AGAIN:
            log.error("%s", error)

    def _expelled(self) -> None:
        self._member, self._generation, self._leads = "", -1, False
        self._again.set()
        if self.owned:
            log.warning("group %s took this client for dead; what it has in hand is delivered again", self._group)
            self.owned = set()
            self._owner.lost()


def commit_request(
    group: str, generation: int, member: str, offsets: dict[TopicPartition, tuple[int, str]]
) -> OffsetCommitRequest:
    """Return the request that stores offsets with their notes."""
    topics: dict[str, list[tuple[int, int, str]]] = {}
    for place, (offset, note) in offsets.items():
        topics.setdefault(place.topic, []).append((place.partition, offset, note))
    return OffsetCommitRequest(group, generation, member, -1, list(topics.items()))


def check_commit(answer: Any, group: str) -> None:
    """Raise where an offset was not stored."""
    for topic, partitions in answer.topics:
        for _, code in partitions:
            if code:
                raise Refused(code, f"commit of {topic} for group {group}")
