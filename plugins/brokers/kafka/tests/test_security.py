"""Passwords by SCRAM, and TLS with certificates on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aats_broker_kafka import KafkaBroker, KafkaSettings
from aats_broker_kafka.client import Client
from aiokafka.conn import AIOKafkaConnection
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from aats_core.errors import BrokerUnavailable
from aats_core.message import Message, new_id
from plugins.brokers.kafka.tests.conftest import QUICK, watch_connections
from tests.services.kafka import PASSWORD, USER, KafkaServer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an authority, and certificates of the server, of a client, and of a stranger."""
    directory = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(directory / "client.pem")
    stranger.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(directory / "stranger.pem")
    stranger.cert_pem.write_to_path(directory / "strangers-ca.pem")
    server = authority.issue_cert("127.0.0.1")
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the only form that Kafka reads
    (directory / "server.pem").write_bytes(own + b"".join(pem.bytes() for pem in server.cert_chain_pems))
    return directory


@pytest.fixture(scope="module")
def secured(possible: None, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Return a server that speaks TLS too."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka-tls"))
    server.tls = (files / "server.pem", files / "ca.pem")
    server.start()
    yield server
    server.stop()


async def speak(port: int, **chosen: Any) -> None:
    """Publish a message and receive it."""
    topic = f"secure.{new_id()}"
    broker = KafkaBroker(KafkaSettings(servers=(f"127.0.0.1:{port}",), **{**QUICK, **chosen}))
    await broker.connect()
    try:
        async with broker.subscribe(topic, "g") as subscription, asyncio.timeout(60):
            await broker.publish(topic, Message("m", "secret"))
            delivery = await anext(subscription)
            assert delivery.message.read(str) == "secret"
            await delivery.ack()
    finally:
        await broker.close()


@pytest.mark.integration
class TestSecurity:
    def test_a_password_opens_the_door(self, secured: KafkaServer) -> None:
        asyncio.run(speak(secured.sasl_port, user=USER, password=PASSWORD))

    @pytest.mark.parametrize("who", [{"user": USER, "password": "wrong"}, {"user": "nobody", "password": PASSWORD}, {}])
    def test_a_wrong_password_or_none_does_not(self, secured: KafkaServer, who: dict[str, str]) -> None:
        with pytest.raises(BrokerUnavailable, match="are address, user and TLS right"):
            asyncio.run(speak(secured.sasl_port, timeout=1.5, **who))

    def test_certificates_on_both_sides_are_checked(self, secured: KafkaServer, files: Path) -> None:
        asyncio.run(speak(secured.tls_port, tls={"ca": files / "ca.pem", "certificate": files / "client.pem"}))

    @pytest.mark.parametrize(
        ("ca", "certificate"), [("ca.pem", None), ("ca.pem", "stranger.pem"), ("strangers-ca.pem", "client.pem")]
    )
    def test_a_stranger_is_refused_on_either_side(
        self, secured: KafkaServer, files: Path, ca: str, certificate: str | None
    ) -> None:
        tls = {"ca": files / ca, "certificate": certificate and files / certificate}
        with pytest.raises(BrokerUnavailable):
            asyncio.run(speak(secured.tls_port, timeout=1.5, tls=tls))

    def test_a_connection_that_is_given_up_after_the_handshake_is_not_left_open(
        self, secured: KafkaServer, files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def main() -> None:
            created, asked = watch_connections(), asyncio.Event()

            async def wait_for_ever(_: object) -> None:
                asked.set()
                await asyncio.get_running_loop().create_future()

            monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", wait_for_ever)
            tls = {"ca": files / "ca.pem", "certificate": files / "client.pem"}
            client = Client(KafkaSettings(servers=(f"127.0.0.1:{secured.tls_port}",), **{**QUICK, "tls": tls}), 30.0)
            bootstrap = asyncio.create_task(client.bootstrap())
            async with asyncio.timeout(60):
                await asked.wait()
            bootstrap.cancel()
            await asyncio.gather(bootstrap, return_exceptions=True)
            await client.close()
            assert created
            assert [socket for socket in created if socket.fileno() >= 0] == []

        asyncio.run(main())

    def test_a_password_travels_over_tls(self, secured: KafkaServer, files: Path) -> None:
        asyncio.run(speak(secured.sasl_tls_port, user=USER, password=PASSWORD, tls={"ca": files / "ca.pem"}))
