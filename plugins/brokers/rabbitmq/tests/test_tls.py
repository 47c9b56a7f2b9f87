"""TLS in both directions, on a server that accepts nothing else."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme
from aats_broker_rabbitmq import RabbitBroker, RabbitSettings

from aats_core.message import Message, new_id
from tests.services import RabbitServer

OURS = trustme.CA()
STRANGERS = trustme.CA()


class TlsServer(RabbitServer):
    """A RabbitMQ that only speaks to clients with a certificate that our authority signed."""

    name = "rabbitmq_tls"
    listener: ClassVar[str] = "ssl"

    def command(self) -> list[str]:
        OURS.cert_pem.write_to_path(self.directory / "ca.pem")
        OURS.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(self.directory / "server.pem")
        files = {"cacertfile": "ca", "certfile": "server", "keyfile": "server"}
        lines = [f"ssl_options.{option} = {self.directory}/{name}.pem" for option, name in files.items()]
        self.extra = "\n".join(
            [
                *lines,
                "ssl_options.verify = verify_peer",
                "ssl_options.fail_if_no_peer_cert = true",
                "listeners.tcp = none\n",  # else it would also take the usual port, which may be another's
            ]
        )
        return super().command()

    def answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            return bool(connection.fileno())

    def address(self, port: int) -> str:
        return f"amqps://localhost:{port}"


@pytest.fixture
def server(service: Callable[[type[Any]], Any]) -> TlsServer:
    running: TlsServer = service(TlsServer)
    return running


def make(server: TlsServer, directory: Path, *, ca: trustme.CA, client: trustme.CA | None) -> RabbitBroker:
    ca.cert_pem.write_to_path(directory / "ca.pem")
    tls: dict[str, Any] = {"ca": directory / "ca.pem"}
    if client is not None:
        client.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(directory / "client.pem")
        tls["certificate"] = directory / "client.pem"
    section = {"servers": [server.url], "user": server.user, "password": server.password, "timeout": 60, "tls": tls}
    return RabbitBroker(RabbitSettings.model_validate(section))


def test_messages_travel_between_who_can_prove_who_they_are(server: TlsServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        topic = f"tls.{new_id()}"
        broker = make(server, tmp_path, ca=OURS, client=OURS)
        await broker.connect()
        async with broker.subscribe(topic, "g", ephemeral=True) as subscription:
            await broker.publish(topic, Message("m", "x" * 500_000))
            await (await anext(subscription)).ack()
        await broker.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("ca", "client"), [(STRANGERS, OURS), (OURS, STRANGERS), (OURS, None)], ids=["server", "client", "nobody"]
)
def test_a_stranger_is_refused(server: TlsServer, tmp_path: Path, ca: trustme.CA, client: trustme.CA | None) -> None:
    async def scenario() -> None:
        broker = make(server, tmp_path, ca=ca, client=client)
        connecting = asyncio.create_task(broker.connect())
        while not re.search(r"(?i)certificate|unknown ca|closed|reset", (await broker.health()).detail):
            assert not connecting.done()
            await asyncio.sleep(0.01)
        connecting.cancel()
        await asyncio.wait({connecting})
        assert connecting.cancelled()

    asyncio.run(scenario())
