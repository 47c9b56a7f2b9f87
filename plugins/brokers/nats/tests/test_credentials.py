"""A user's JWT and seed in a file, where an operator signs the accounts of the servers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import nkeys
import pytest
from aats_broker_nats import NatsBroker, NatsSettings
from pydantic import ValidationError

from aats_core.errors import BrokerUnavailable
from plugins.brokers.nats.tests.conftest import connected, number, receive

_UNLIMITED = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
_STORAGE = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


def key(role: int) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), role)))


def name(pair: nkeys.KeyPair) -> str:
    return pair.public_key.decode().rstrip("=")


def signed(by: nkeys.KeyPair, of: nkeys.KeyPair, kind: str, **claims: Any) -> str:
    """Return the JWT in which one says what another may do."""
    body = {"jti": kind, "iat": 1, "iss": name(by), "sub": name(of), "name": kind}
    body["nats"] = {"type": kind, "version": 2, **claims}
    parts = [_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
    return ".".join([*parts, _encoded(by.sign(".".join(parts).encode()))])


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def credentials(path: Path, account: nkeys.KeyPair) -> Path:
    """Write the file of a new user of an account."""
    user = key(nkeys.PREFIX_BYTE_USER)
    jwt = signed(account, user, "user", subs=-1, data=-1, payload=-1)
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return path


@pytest.mark.integration
def test_a_user_of_an_operators_account_is_let_in_and_no_other(make_server, tmp_path: Path) -> None:
    operator, system, account = (
        key(role) for role in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT)
    )
    limits = {**_UNLIMITED, "wildcards": True}
    accounts = {
        name(system): signed(operator, system, "account", limits=limits),
        name(account): signed(operator, account, "account", limits=limits | _STORAGE),
    }
    server = make_server(
        f"operator: {signed(operator, operator, 'operator')}",
        f"system_account: {name(system)}",
        "resolver: MEMORY",
        "resolver_preload: {",
        *(f"  {who}: {jwt}" for who, jwt in accounts.items()),
        "}",
    )
    ours = credentials(tmp_path / "ours.creds", account)
    strangers = credentials(tmp_path / "strangers.creds", key(nkeys.PREFIX_BYTE_ACCOUNT))

    async def scenario() -> None:
        async with connected(server, credentials=ours) as broker, broker.subscribe("t", "g") as subscription:
            await broker.publish("t", number(1))
            delivery = await receive(subscription)
            assert delivery.message.read(int) == 1
            await delivery.ack()
        refused = NatsBroker(NatsSettings(servers=[server.url], credentials=strangers))
        with pytest.raises(BrokerUnavailable, match="Authorization Violation"):
            await refused.connect()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "missing.creds cannot be read: No such file"),
        ("", "does not hold the JWT and the seed of a user"),
        ("-----BEGIN NATS USER JWT-----\nabc\n-----BEGIN USER NKEY SEED-----\nSUABC\n", "does not hold the JWT"),
        ("-----BEGIN USER NKEY SEED-----\nSUABC\n", "does not hold the JWT"),
    ],
)
def test_a_file_without_a_user_is_refused_with_the_settings(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "missing.creds"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValidationError) as caught:
        NatsSettings(credentials=path)
    (problem,) = caught.value.errors(include_input=False)
    assert problem["loc"] == ("credentials",)
    assert complaint in problem["msg"]
    assert "SUABC" not in problem["msg"]
