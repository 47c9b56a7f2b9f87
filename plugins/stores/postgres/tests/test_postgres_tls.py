"""TLS to a real server, which shows a certificate and asks for one."""

from __future__ import annotations

import asyncio
import gc
import shutil
from pathlib import Path
from typing import Any

import pytest
import trustme
from aats_store_postgres import PostgresStore

from aats_core.clock import RealClock
from aats_core.errors import StoreUnavailable
from aats_core.settings import TeamInfo
from tests.services.postgres import USER, PostgresServer, _as_user


class TlsServer(PostgresServer):
    """A PostgreSQL that takes connections over TLS only, and only from clients with a certificate."""

    name = "postgres-tls"
    authority = trustme.CA()

    def command(self) -> list[str]:
        command = super().command()
        certificate = self.authority.issue_cert("127.0.0.1")
        self.authority.cert_pem.write_to_path(str(self.data / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(self.data / "server.key"))
        (self.data / "server.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        (self.data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256 clientcert=verify-ca\n")
        for name in ("ca.pem", "server.key", "server.pem", "pg_hba.conf"):
            (self.data / name).chmod(0o600)
            if _as_user():
                shutil.chown(self.data / name, USER, USER)
        options = {"ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "ca.pem"}
        return [*command, *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    certificate = TlsServer.authority.issue_cert("client@example.org")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "other")}
    TlsServer.authority.cert_pem.write_to_path(str(paths["ca"]))
    trustme.CA().cert_pem.write_to_path(str(paths["other"]))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(paths["certificate"]))
    return paths


def store(server: Any, **tls: Path) -> PostgresStore:
    settings = PostgresStore.Settings.model_validate({"dsn": server.url, "timeout": 3.0, "tls": tls})
    return PostgresStore(settings, TeamInfo(), RealClock())


# asyncpg leaves the socket of a failed handshake to the garbage collector, which is therefore called here.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_is_checked_and_sees_the_certificate(service: Any, files: dict[str, Path]) -> None:
    server = service(TlsServer)

    async def scenario() -> None:
        well = store(server, ca=files["ca"], certificate=files["certificate"])
        await well.connect()
        rows = await well.native.fetch(
            "SELECT ssl, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'aats'"
        )
        assert rows
        assert all(row["ssl"] and row["client_dn"] for row in rows)
        await well.close()
        for wrong, hint in (
            ({"ca": files["other"], "certificate": files["certificate"]}, "certificate"),
            ({"ca": files["ca"]}, "certificate"),
        ):
            with pytest.raises(StoreUnavailable, match=hint):
                await store(server, **wrong).connect()

    asyncio.run(scenario())
    gc.collect()
