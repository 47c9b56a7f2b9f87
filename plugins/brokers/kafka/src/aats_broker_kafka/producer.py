"""Writing: the driver's idempotent producer, given up and replaced when it cannot confirm in time."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer, errors

from aats_broker_kafka.deadlines import Deadlines, time_out
from aats_broker_kafka.driver import BACKOFF, close_what_ended
from aats_broker_kafka.settings import KafkaSettings
from aats_core.errors import BrokerError, BrokerUnavailable, MessageTooLarge

Headers = list[tuple[str, bytes]]


class Producer:
    """Sends records and waits until all replicas in sync have them.

    The driver never drops a record of an idempotent producer, but tries until it can be sent. What is not confirmed
    within the timeout must not arrive later, so the producer is given up then; who still waits goes on with the next.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._deadlines: Deadlines[asyncio.Future[None]] = Deadlines(settings.timeout, time_out)

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None
    ) -> None:
        """Write one record; raises `BrokerUnavailable` where that is not confirmed within the timeout."""
        until = self._now() + self._settings.timeout
        while True:
            producer = self._producer or await self._open(until)
            try:
                if await self._sent(producer, topic, value, key, headers):
                    return
            except TimeoutError:
                until = 0.0
            await self._give_up(producer)
            if self._now() + BACKOFF > until:
                raise BrokerUnavailable(
                    f"{topic}: Kafka did not confirm the message within {self._settings.timeout:g} s"
                )
            await asyncio.sleep(BACKOFF)

    async def close(self) -> None:
        """Send what is buffered, for as long as the timeout, and close."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await producer.flush()
            except (TimeoutError, errors.KafkaError):
                pass
            await _end(producer)

    async def _sent(
        self, producer: Any, topic: str, value: bytes | None, key: bytes | None, headers: Headers | None
    ) -> bool:
        """Send, and tell whether it is confirmed: where it is not, the producer has to be given up."""
        try:
            confirmation = await producer.send(topic, value, key, headers=headers)
            self._deadlines.add(confirmation)
            try:
                await confirmation
            finally:
                self._deadlines.discard(confirmation)
        except errors.MessageSizeTooLargeError as error:
            raise MessageTooLarge(f"{topic}: the server does not take {len(value or b'')} bytes: {error}") from error
        except (errors.KafkaError, ConnectionError) as error:
            if isinstance(error, _BROKEN) or (isinstance(error, errors.KafkaError) and error.retriable):
                return False
            raise BrokerError(f"{topic}: {type(error).__name__}: {error}") from error
        return True

    async def _open(self, until: float) -> Any:
        try:
            async with asyncio.timeout_at(until), self._opening:
                while self._producer is None:
                    if self._closed:
                        raise BrokerUnavailable("the broker is closed")
                    producer = await self._started()
                    if producer is not None and self._closed:
                        await _end(producer)
                    else:
                        self._producer = producer
                return self._producer
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"no Kafka takes messages at {', '.join(self._settings.servers)}, for"
                f" {self._settings.timeout:g} s; the message was not accepted"
            ) from error

    async def _started(self) -> Any:
        producer = AIOKafkaProducer(
            **self._settings.connection(),
            client_id="aats",
            enable_idempotence=True,
            acks="all",
            max_batch_size=256 * 1024,
            max_request_size=self._settings.max_message_bytes + 4096,
            request_timeout_ms=int(self._settings.timeout * 1000),
        )
        close_what_ended(producer.client)
        try:
            await producer.start()
        except (errors.KafkaError, OSError):
            await _end(producer)
            await asyncio.sleep(BACKOFF)
            return None
        except BaseException:
            await _end(producer)
            raise
        return producer

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _give_up(self, producer: Any) -> None:
        if producer is not None and producer is self._producer:
            self._producer = None
            await _end(producer)


class Abandoned(ConnectionError):
    """The producer was given up before this was confirmed."""


_BROKEN = (
    Abandoned,
    errors.OutOfOrderSequenceNumber,
    errors.ProducerFenced,
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.ProducerClosed,
)


async def _end(producer: Any) -> None:
    """Close a producer without sending what it has left, which its own `stop` would wait for."""
    producer._closed = True  # noqa: SLF001 - the driver has no other way
    producer._message_accumulator.fail_all(Abandoned())  # noqa: SLF001
    sending = producer._sender.sender_task  # noqa: SLF001
    for _ in range(2):  # once to send no more, and where that takes long, once to wait for no answer either
        if sending is not None and not sending.done():
            sending.cancel()
            await asyncio.wait({sending}, timeout=0.2)
    producer._message_accumulator.fail_all(Abandoned())  # noqa: SLF001 - what was under way has come back
    await producer.client.close()
