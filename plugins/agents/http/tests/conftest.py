"""A real server on a loopback port, in a thread of its own, and an agent that calls it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aats_agent_http import Http
from aiohttp import web

from aats_core.agent import TaskContext
from aats_core.handlers import collect
from aats_core.message import Message
from aats_core.testing.fakes import FakeTaskContext, give_context
from aats_core.testing.leftovers import nothing_left


class Server:
    """Serves what a test puts under `answers`, by path, and remembers what it was asked."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.asked: list[dict[str, Any]] = []
        self.url = ""
        self._trust = trust
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 10) as last:  # those before it are accepted then
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def answer(self, path: str, text: str | None = "", *, status: int = 200, **options: Any) -> None:
        async def respond(request: web.Request) -> web.StreamResponse:
            return web.Response(text=text, status=status, **options)

        self.answers[path] = respond

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._trust)
        await site.start()
        self.port = runner.addresses[0][1]
        self.url = f"{'https' if self._trust else 'http'}://127.0.0.1:{self.port}"
        self._ready.set()
        await self._stop.wait()
        assert runner.server is not None
        while runner.server.connections:  # every client has gone, and this end is about to notice
            await asyncio.sleep(0.001)
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(
            {
                "method": request.method,
                "path": request.path,
                "query": list(request.query.items()),
                "headers": request.headers.copy(),
                "body": await request.text(),
            }
        )
        answer = self.answers.get(request.path)
        return await answer(request) if answer else web.Response(status=404, text="no such thing")


class Runner:
    """A started agent, and one task after the other on it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.agent = Http()
        self.settings = Http.Settings(**settings)
        self.context = FakeTaskContext("plan/task", kind="http.request")
        self._handler = collect(Http, TaskContext)["task", "http.request"]

    async def call(self, url: str, **payload: Any) -> Any:
        message = Message("http.request", {"url": url, **payload})
        return self._handler.check_result(await self._handler.call(self.agent, message, self.context))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of plain HTTP."""
    yield from _serving(Server())


@pytest.fixture
def other_server() -> Iterator[Server]:
    """Another one: another origin."""
    yield from _serving(Server())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    place = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject),
            *("-keyout", place / "key.pem", "-out", place / "cert.pem"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"openssl makes no certificate: {made.stderr.decode()}")
    return place / "cert.pem", place / "key.pem"


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> Iterator[Server]:
    """A server of HTTPS."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(*certificate)
    yield from _serving(Server(trust))


def _serving(server: Server) -> Iterator[Server]:
    server.start()
    yield server
    server.stop()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def play() -> Callable[..., Any]:
    """Run a scenario with a started agent of those settings, and return what it returns."""

    def play(scenario: Callable[[Runner], Awaitable[Any]], **settings: Any) -> Any:
        async def life() -> Any:
            runner = Runner(settings)
            give_context(runner.agent, runner.settings)
            await runner.agent.start()
            try:
                async with asyncio.timeout(60):
                    return await scenario(runner)
            finally:
                await runner.agent.stop()

        with nothing_left(10):
            return asyncio.run(life())

    return play


@pytest.fixture
def call(play: Callable[..., Any]) -> Callable[..., Any]:
    """Send one request and return the output; `settings` are those of the agent."""

    def call(url: str, *, settings: dict[str, Any] | None = None, **payload: Any) -> Any:
        return play(lambda runner: runner.call(url, **payload), **(settings or {}))

    return call
