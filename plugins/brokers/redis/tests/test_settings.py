from __future__ import annotations

import pytest
from aats_broker_redis import RedisSettings
from aats_broker_redis.settings import Address, parse_address
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://a", Address("a", 6379)),
        ("redis://a:1/", Address("a", 1)),
        ("rediss://a.b:7000/3", Address("a.b", 7000, 3, tls=True)),
        ("redis://[::1]:7000", Address("::1", 7000)),
    ],
)
def test_a_url_says_where_a_server_is(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize("url", ["http://a", "a:6379", "redis://", "redis://a/db", ""])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="an address looks like redis://"):
        RedisSettings(servers=[url])


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="user and password are settings of their own") as refusal:
        parse_address("redis://ada:hunter2@a")
    assert "hunter2" not in str(refusal.value)


def test_there_has_to_be_a_server() -> None:
    with pytest.raises(ValidationError):
        RedisSettings(servers=[])
