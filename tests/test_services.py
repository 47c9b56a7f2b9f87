"""The servers that the tests use start, keep what they confirmed over kill -9, and the proxy breaks what it should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.services.proxy import Fault, FaultProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """Return the port of a server that says everything again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[FaultProxy]:
    """Return a proxy before that server."""
    with FaultProxy(echo) as proxy:
        yield proxy


def say(connection: socket.socket, text: bytes) -> bytes:
    """Return the answer; raises `ConnectionError` where the connection has ended."""
    connection.sendall(text)
    answer = connection.recv(100)
    if not answer:
        raise ConnectionResetError
    return answer


def connect(proxy: FaultProxy, timeout: float = 5) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def test_a_proxy_passes_everything_on(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert say(connection, b"hello") == b"hello"


def test_a_cut_ends_old_connections_and_new_ones(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        say(connection, b"hello")
        proxy.inject(Fault.CUT)
        with pytest.raises(ConnectionError):
            say(connection, b"lost")
    with connect(proxy) as late, pytest.raises(ConnectionError):
        say(late, b"lost")
    proxy.inject(Fault.NONE)
    with connect(proxy) as again:
        assert say(again, b"again") == b"again"


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.HALF_OPEN])
def test_what_was_held_back_passes_afterwards(proxy: FaultProxy, fault: Fault) -> None:
    with connect(proxy, timeout=0.2) as connection:
        say(connection, b"hello")
        proxy.inject(fault)
        with pytest.raises(TimeoutError):
            say(connection, b"late")
        proxy.inject(Fault.NONE)
        connection.settimeout(5)
        assert connection.recv(100) == b"late"


def test_a_reset_ends_what_is_open_only(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        say(connection, b"hello")
        proxy.reset()
        with pytest.raises(ConnectionError):
            say(connection, b"lost")
    with connect(proxy) as again:
        assert say(again, b"again") == b"again"
