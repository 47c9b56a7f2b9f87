"""Fixtures of this plugin's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aats_broker_rabbitmq import RabbitBroker, RabbitSettings

from tests.services import RabbitServer

Make = Callable[..., RabbitBroker]


@pytest.fixture
def server(service: Callable[[type[Any]], Any]) -> RabbitServer:
    """Return the running server."""
    running: RabbitServer = service(RabbitServer)
    return running


@pytest.fixture
def make(server: RabbitServer) -> Make:
    """Return a function that makes unconnected brokers of that server."""

    def make(**changes: Any) -> RabbitBroker:
        section = {
            "servers": [server.url],
            "user": server.user,
            "password": server.password,
            "group_expires": 30,
            "timeout": 30,
            **changes,
        }
        return RabbitBroker(RabbitSettings.model_validate(section))

    return make
