"""What health makes of what a server tells; the servers of the tests are too old to tell it themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from aats_broker_nats import NatsSettings
from aats_broker_nats.health import _durability, _replicas


@pytest.fixture
def monitoring() -> Iterator[SimpleNamespace]:
    """Serve what is in `config` as a server's monitoring does."""
    told = SimpleNamespace(config={})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/varz"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"jetstream": {"config": told.config}}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def durability(version: tuple[int, int] = (2, 10), **settings: Any) -> str:
    parts: Any = SimpleNamespace(settings=NatsSettings(**settings), connection=SimpleNamespace(version=version))
    return asyncio.run(_durability(parts))


def test_a_server_that_syncs_each_write_is_no_problem(monitoring) -> None:
    monitoring.config = {"sync_always": True, "sync_interval": 120_000_000_000}

    assert durability(monitoring=monitoring.url) == ""


def test_a_server_that_does_not_is_told_how_to(monitoring) -> None:
    assert "sync_interval: always" in durability(monitoring=monitoring.url)


def test_what_cannot_be_known_is_said(monitoring) -> None:
    assert "`monitoring`" in durability()
    assert "does not tell" in durability(monitoring="http://127.0.0.1:1")
    assert "NATS 2.9 cannot" in durability((2, 9), monitoring=monitoring.url)
    assert durability((2, 9), durability="accept") == ""


def test_replicas_that_are_behind_are_named() -> None:
    replicas = [{"name": "n1", "current": True}, {"name": "n2", "current": False}]

    assert "n2" in _replicas({"cluster": {"replicas": replicas}})
    assert _replicas({"cluster": {"replicas": replicas[:1]}}) == ""
    assert _replicas({}) == ""
