"""Passwords by SCRAM, and TLS with certificates on both sides."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme
from aats_store_mongodb import MongoStore
from pydantic import ValidationError

from aats_core.clock import RealClock
from aats_core.errors import StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.settings import TeamInfo
from aats_core.store import RecordStore
from tests.services import MongoServer

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("forgotten_sockets"),
]

USER, PASSWORD = "aats", "s€cret:/@"
DATABASE = "aats_secure"


class SecureServer(MongoServer):
    """A mongod that takes connections over TLS only, from clients with a certificate, and asks who they are."""

    name = "mongodb-secure"
    authority = trustme.CA()

    def command(self) -> list[str]:
        certificate = self.authority.issue_cert("127.0.0.1")
        self.authority.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "server.pem"))
        (self.directory / "members.key").write_text("a2V5IG9mIHRoZSBtZW1iZXJz")
        (self.directory / "members.key").chmod(0o600)
        self.options = {
            "tls": True,
            "tlsCAFile": str(self.directory / "ca.pem"),
            "tlsCertificateKeyFile": str(self.directory / "server.pem"),
        }
        tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", "server.pem", "--tlsCAFile", "ca.pem"]
        return [*super().command(), *tls, "--keyFile", "members.key"]

    def start(self) -> None:
        """Make the first user, as a client on the same machine may while there is none."""
        if self._process is None:
            super().start()
            with self.client() as client:
                client.admin.command("createUser", USER, pwd=PASSWORD, roles=["root"])


@pytest.fixture(scope="module")
def server(service: Any) -> SecureServer:
    return service(SecureServer)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    certificate = SecureServer.authority.issue_cert("client@example.org")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "other")}
    SecureServer.authority.cert_pem.write_to_path(str(paths["ca"]))
    trustme.CA().cert_pem.write_to_path(str(paths["other"]))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(paths["certificate"]))
    return paths


def store(server: SecureServer, tls: dict[str, Path], **settings: Any) -> MongoStore:
    values = {"url": server.url, "database": DATABASE, "username": USER, "password": PASSWORD, "timeout": 20.0}
    made = MongoStore.Settings.model_validate({**values, "tls": tls, **settings})
    return MongoStore(made, TeamInfo(), RealClock())


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_who_shows_certificate_and_password_is_let_in(server: Any, files: dict[str, Path], driver: str) -> None:
    async def scenario() -> None:
        well = store(server, {"ca": files["ca"], "certificate": files["certificate"]}, driver=driver)
        await well.connect()
        try:
            (records,) = (each for each in well.capabilities if isinstance(each, RecordStore))
            await records.insert("c", {"_id": driver})
            assert await records.count("c", {"_id": driver}) == 1
            assert (await well.health()).status is HealthStatus.OK
        finally:
            await well.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("wrong", [{"password": "letmein"}, {"username": "nobody"}, {"password": "", "username": ""}])
def test_a_wrong_password_is_told_as_such_and_not_shown(server: Any, files: dict[str, Path], wrong: Any) -> None:
    async def scenario() -> None:
        tls = {"ca": files["ca"], "certificate": files["certificate"]}
        with pytest.raises(StoreUnavailable, match="refuses this user; see username and password") as caught:
            await store(server, tls, **wrong).connect()
        assert "letmein" not in str(caught.value)

    asyncio.run(scenario())


@pytest.mark.parametrize("shown", [("other", "certificate"), ("ca", None)])
def test_a_certificate_that_is_wrong_or_lacks_is_told_as_such(
    server: Any, files: dict[str, Path], shown: tuple[str, str | None]
) -> None:
    tls = {key: files[name] for key, name in zip(("ca", "certificate"), shown, strict=True) if name}

    async def scenario() -> None:
        with pytest.raises(StoreUnavailable, match="certificate"):
            await store(server, tls, timeout=2.0).connect()

    asyncio.run(scenario())


def test_a_key_of_its_own_is_refused(server: Any, files: dict[str, Path]) -> None:
    with pytest.raises(ValidationError, match="in one file"):
        store(server, {"certificate": files["certificate"], "key": files["certificate"]})
