"""Which commits are waited for, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aats_broker_kafka.committer import Committer, State
from aats_broker_kafka.driver import TopicPartition
from aats_broker_kafka.membership import Membership
from aats_broker_kafka.partition import Partition

from aats_core.errors import BrokerUnavailable

PATIENCE = 30


class SlowMembership(Membership):
    """Stores as much as it is told to; `free` says whether its connection has no answer to wait for."""

    def __init__(self, *, free: bool) -> None:
        self.free = free
        self.committed: list[State] = []
        self.told: list[State] = []
        self.answers = asyncio.Semaphore(0)

    @property
    def trusted(self) -> bool:
        return True

    async def commit(self, offsets: State) -> None:
        self.committed.append(offsets)
        await self.answers.acquire()

    async def tell(self, offsets: State) -> Callable[[], Awaitable[None]]:
        if not self.free:
            raise BrokerUnavailable("the connection is busy")
        self.told.append(offsets)

        async def confirm() -> None:
            await self.answers.acquire()

        return confirm


@pytest.mark.parametrize("free", [True, False])
def test_who_only_has_to_know_that_a_commit_is_on_its_way_waits_for_none_to_be_stored_after_it(*, free: bool) -> None:
    async def main() -> None:
        membership, part = SlowMembership(free=free), Partition(TopicPartition("t", 0), 0, "", 0)
        committer = Committer(membership, PATIENCE, lambda: None)
        stored = committer.soon([part])
        async with asyncio.timeout(PATIENCE):
            while not membership.committed:
                await asyncio.sleep(0)
            sent, done = asyncio.create_task(committer.sent({part})), committer.done(part)
            await asyncio.sleep(0)
            membership.answers.release()
            await stored
            if free:
                await sent
                assert (len(membership.committed), len(membership.told)) == (1, 1)
            else:
                while len(membership.committed) < 2:
                    await asyncio.sleep(0)
                assert not sent.done()
            assert not done.done()
            membership.answers.release()
            await asyncio.gather(sent, done)
            await committer.close()

    asyncio.run(main())
