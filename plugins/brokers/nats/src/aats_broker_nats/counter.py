"""Where the owner of a group takes what consumers in other clients ask for."""

from __future__ import annotations

import asyncio

import msgspec
from nats.aio.msg import Msg

from aats_broker_nats.connection import Listener
from aats_broker_nats.owner import Owner
from aats_broker_nats.parts import Parts
from aats_broker_nats.seats import RemoteSeat
from aats_broker_nats.wire import Answer, Command, Join, Leave, Ping, Settle, commands, encoder
from aats_core.errors import BrokerError


class Counter:
    """Answers commands, each request's in their order."""

    def __init__(self, owner: Owner, parts: Parts) -> None:
        self._owner = owner
        self._parts = parts
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin."""
        self._listener = await self._parts.connection.listen(self._parts.names.commands(self._owner.group), self._take)

    async def close(self) -> None:
        """Answer what has come, and end."""
        if self._listener is not None:
            await self._parts.connection.ignore(self._listener, drain=True)
        await asyncio.gather(*self._tasks)

    async def _take(self, message: Msg) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Msg) -> None:
        try:
            asked = commands.decode(message.data)
        except msgspec.DecodeError:
            return  # of another version, or not from a client of ours: it is told nothing, and asks another owner
        given = [await self._do(command) for command in asked]
        try:
            await self._parts.connection.publish(message.reply, encoder.encode(given))
        except BrokerError:
            return  # who asked asks again

    async def _do(self, command: Command) -> Answer:
        owner, now = self._owner, asyncio.get_running_loop().time()
        if isinstance(command, Join):
            seat = RemoteSeat(command.consumer, command.prefetch, command.inbox, self._parts.connection)
            owner.join(seat, command.held)
        elif isinstance(command, Leave):
            owner.leave(command.consumer, command.seen)
        elif isinstance(command, (Ping, Settle)):
            known = owner.seats.get(command.consumer)
            if known is None:
                return Answer(known=False)
            known.seen = now
            if isinstance(command, Settle):
                return await self._settle(command)
        else:
            return Answer(consumers=len(owner.seats), held=sum(len(seat.held) for seat in owner.seats.values()))
        return Answer()

    async def _settle(self, command: Settle) -> Answer:
        try:
            await self._owner.settle(
                command.consumer, command.sequence, command.attempt, command.how, command.delay, command.reason
            )
        except BrokerError as error:
            return Answer(error=str(error))
        return Answer()
