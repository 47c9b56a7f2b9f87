"""What the parts of one client share."""

from __future__ import annotations

from typing import NamedTuple

from aats_broker_nats.connection import Connection
from aats_broker_nats.jetstream import JetStream
from aats_broker_nats.letters import Letters
from aats_broker_nats.names import Names
from aats_broker_nats.publisher import Publisher
from aats_broker_nats.settings import NatsSettings


class Parts(NamedTuple):
    """One connection and all that speaks over it."""

    settings: NatsSettings
    names: Names
    connection: Connection
    publisher: Publisher
    jetstream: JetStream
    letters: Letters


def parts_of(settings: NatsSettings) -> Parts:
    """Put a client together; nothing is connected yet."""
    names, connection = Names(settings.stream), Connection(settings)
    publisher = Publisher(connection, settings.timeout)
    jetstream = JetStream(connection, settings, names)
    return Parts(settings, names, connection, publisher, jetstream, Letters(names, publisher, jetstream))
