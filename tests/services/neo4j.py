"""Neo4j, the community edition with APOC, from the jars that Maven fetches."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import ClassVar

import trustme

from tests.services.jars import fetch_jars, missing_for_java
from tests.services.service import Service

USER, PASSWORD = "neo4j", "correct-horse"

JAVA = ["java", "-Xms128m", "-Xmx384m", "-Xss1m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
MAIN = "org.neo4j.server.CommunityEntryPoint"
_HELLO = bytes.fromhex("6060b017 00080805 00000000 00000000 00000000")
"""The handshake of Bolt, for version 5."""


class Neo4jServer(Service):
    """A Neo4j with one database, which speaks Bolt with and without TLS at one port; `authority` has signed for it."""

    name = "neo4j"
    patience: ClassVar[float] = 90.0

    @classmethod
    def missing(cls) -> str:
        """Name what Debian has to give."""
        return missing_for_java()

    @property
    def authority(self) -> Path:
        """The certificate of whoever signed the server's."""
        return self.directory / "certificates" / "authority.pem"

    def command(self) -> list[str]:
        """Write the configuration, the first password and the certificate."""
        jars = fetch_jars(self.name)
        plugins = self.directory / "plugins"
        if not plugins.exists():
            plugins.mkdir()
            for apoc in jars.glob("apoc-core-*.jar"):
                (plugins / apoc.name).symlink_to(apoc)
            self._write_password()
            self._write_certificate()
        config = self.directory / "conf"
        config.mkdir(exist_ok=True)
        text = "".join(f"{name}={value}\n" for name, value in self.options().items())
        (config / "neo4j.conf").write_text(text)
        return [
            *JAVA,
            "-cp",
            f"{jars}/*",
            MAIN,
            f"--home-dir={self.directory}",
            f"--config-dir={config}",
            "--console-mode",
        ]

    def options(self) -> dict[str, object]:
        """Return the configuration: nothing but Bolt, little memory, small files."""
        policy = "dbms.ssl.policy.bolt"
        return {
            "server.default_listen_address": "127.0.0.1",
            "server.bolt.listen_address": f"127.0.0.1:{self.port}",
            "server.bolt.tls_level": "OPTIONAL",
            "server.http.enabled": "false",
            "server.https.enabled": "false",
            "server.memory.pagecache.size": "64m",
            "db.transaction.monitor.check.interval": "100ms",
            "db.tx_log.preallocate": "false",
            "db.tx_log.rotation.size": "16m",
            "db.tx_log.rotation.retention_policy": "1 files",
            "dbms.security.auth_max_failed_attempts": 0,
            "dbms.usage_report.enabled": "false",
            f"{policy}.enabled": "true",
            f"{policy}.base_directory": self.authority.parent,
            f"{policy}.private_key": "own.key",
            f"{policy}.public_certificate": "own.pem",
            f"{policy}.client_auth": "NONE",
        }

    def answers(self) -> bool:
        """Shake hands; a version comes back once it serves."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(_HELLO)
            return len(connection.recv(4)) > 0

    def address(self, port: int) -> str:
        """Return the URL."""
        return f"bolt://127.0.0.1:{port}"

    def stop(self) -> None:
        """End it at once: in good order it takes ten seconds, and what it confirmed is on disk."""
        self.kill()

    def _write_password(self) -> None:
        """Leave the first user's password where the server looks for it when it makes its databases."""
        salt = os.urandom(32)
        digest = hashlib.sha256(salt + PASSWORD.encode()).digest()
        directory = self.directory / "data" / "dbms"
        directory.mkdir(parents=True)
        (directory / "auth.ini").write_text(f"{USER}:SHA-256,{digest.hex()},{salt.hex()},1:\n")

    def _write_certificate(self) -> None:
        self.authority.parent.mkdir()
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(self.authority)
        own.private_key_pem.write_to_path(self.authority.with_name("own.key"))
        own.cert_chain_pems[0].write_to_path(self.authority.with_name("own.pem"))
