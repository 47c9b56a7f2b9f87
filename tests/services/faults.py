"""What the fault suites of stores stand on here: a server of ours, and a proxy before it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.proxy import FaultProxy


class OnOwnServer:
    """Gives a suite the server that the fixture `own_server` of a plugin's tests returns."""

    @pytest.fixture(autouse=True)
    def _own_server(self, own_server: Any) -> None:
        self.server = own_server

    def make_proxy(self) -> FaultProxy:
        """Return a proxy before the server."""
        return FaultProxy(self.server.port)
