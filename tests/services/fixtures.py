"""Fixtures that start servers when a test first asks, and keep them for the whole run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.services.matrix import Matrix
from tests.services.service import Service, free_port

S = TypeVar("S", bound=Service)
Started = Callable[[type[S]], S]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started[Service]]:
    """Return the one running server of a class; skips where it cannot be had, and fails under CI."""
    running: dict[type[Service], Service] = {}
    with ExitStack() as stack:

        def get(kind: type[Service]) -> Service:
            if kind not in running:
                server = kind(tmp_path_factory.mktemp(kind.name))
                reason = "" if server.given else kind.missing()
                if reason:
                    refuse(reason)
                stack.callback(server.stop)
                running[kind] = server
            running[kind].start()
            return running[kind]

        yield get


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what starts a server that one test has for itself: of a class, with what else that takes."""
    with ExitStack() as stack:

        def start(kind: type[Service], *arguments: Any, **options: Any) -> Service:
            if reason := kind.missing():
                refuse(reason)
            server = kind(tmp_path / f"{kind.name}-{free_port()}", *arguments, **options)
            server.given = ""
            stack.callback(server.kill)
            server.start()
            return server

        yield start


def refuse(reason: str) -> None:
    """Skip the running test, or fail it under CI, where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this: {reason}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a server, so that nobody forgets to."""
    for item in items:
        starts_one = {"service", "own_service"} & set(getattr(item, "fixturenames", ()))
        if starts_one and item.get_closest_marker("faults") is None:
            item.add_marker(pytest.mark.integration)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the tests of this repository take."""
    parser.addoption("--matrix", type=Path, help="write the capability matrix of brokers into that page")


def pytest_configure(config: pytest.Config) -> None:
    """Count the outcomes of contract suites where a page is to be made of them."""
    page = config.getoption("--matrix", None)
    if page:
        config.pluginmanager.register(Matrix(page))
