"""TLS is set alike for every server: files that cannot be used are named, a password never."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from aats_core.errors import SettingsError
from aats_core.tls import TlsSettings


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(ca: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """Return the paths of an authority's certificate, and of a client's with its key."""
    client = ca.issue_cert("client@example.org")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}
    ca.cert_pem.write_to_path(str(paths["ca"]))
    client.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    client.private_key_pem.write_to_path(str(paths["key"]))
    return paths


def greet(settings: TlsSettings, ca: trustme.CA, name: str) -> bytes:
    """Return what a server says that has a certificate for that name and wants one of its client."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(server)
    ca.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, server.wrap_socket(theirs, server_side=True) as connection:
            connection.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, settings.context().wrap_socket(ours, server_hostname="db.internal") as connection:
            return connection.recv(10)
    finally:
        thread.join()


def test_both_sides_prove_who_they_are(files: dict[str, Path], ca: trustme.CA) -> None:
    assert greet(TlsSettings.model_validate(files), ca, "db.internal") == b"hello"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_of_another_name_is_refused_unless_that_is_allowed(files: dict[str, Path], ca: trustme.CA) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(TlsSettings.model_validate(files), ca, "elsewhere.internal")
    assert greet(TlsSettings.model_validate({**files, "verify_host": False}), ca, "elsewhere.internal") == b"hello"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_of_an_unknown_authority_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(TlsSettings.model_validate(files), trustme.CA(), "db.internal")


def test_a_key_may_have_a_password(files: dict[str, Path], ca: trustme.CA) -> None:
    key = load_pem_private_key(files["key"].read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"sesame"))
    files["key"].write_bytes(locked)
    assert greet(TlsSettings.model_validate({**files, "key_password": "sesame"}), ca, "db.internal") == b"hello"
    with pytest.raises(ValidationError, match="a key's password") as caught:
        TlsSettings.model_validate({**files, "key_password": "simsim"})
    assert "simsim" not in caught.value.errors(include_input=False)[0]["msg"]
    with pytest.raises(ValidationError):
        TlsSettings.model_validate(files)


@pytest.mark.parametrize("name", ["ca", "certificate", "key"])
def test_a_file_that_cannot_be_used_is_named(files: dict[str, Path], name: str) -> None:
    good = TlsSettings.model_validate(files)
    files[name].write_text("nonsense")
    with pytest.raises(ValidationError, match=rf"tls\.{name} = '.*{name}\.pem'.*PEM files are needed"):
        TlsSettings.model_validate(files)
    files[name].unlink()
    with pytest.raises(ValidationError, match=rf"{name}\.pem cannot be read: No such file") as caught:
        TlsSettings.model_validate(files)
    assert caught.value.errors()[0]["loc"] == (name,)
    with pytest.raises(SettingsError, match=rf"tls\.{name} = '.*{name}\.pem'.*No such file"):
        good.context()
