"""Addresses of servers: what cannot be one is refused with an example, and nothing of it is repeated."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from aats_core.addresses import parse_url, server_url

EXAMPLE = "mq://host:1234"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [("mq://a", "a", None), ("mqs://a.b:7/", "a.b", 7), ("MQ://[::1]:65535", "::1", 65_535)],
)
def test_a_url_has_a_host_and_may_have_a_port(url: str, host: str, port: int | None) -> None:
    parts = parse_url(url, EXAMPLE, "mq", "mqs")
    assert (parts.hostname, parts.port) == (host, port)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "it has to begin with mq:// or mqs://"),
        ("http://a:1", "it has to begin with mq:// or mqs://"),
        ("a:1234", "it has to begin with mq:// or mqs://"),
        ("mq:a", "it has to begin with mq:// or mqs://"),
        ("mq://", "exactly one host"),
        ("mq://:1", "exactly one host"),
        ("mq://a,b", "exactly one host"),
        ("mq://a b", "exactly one host"),
        ("mq://a:0", "a port from 1 on"),
        ("mq://a:99999", "the port is a number up to 65535"),
        ("mq://a:b", "the port is a number up to 65535"),
        ("mq://[::1", "host and port are not valid"),
        ("mq://a/b", "nothing may follow host and port"),
        ("mq://a?b=c", "nothing may follow host and port"),
        ("mq://a#b", "nothing may follow host and port"),
    ],
)
def test_another_is_refused_with_an_example(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"{complaint}.*; an address looks like {EXAMPLE}$"):
        parse_url(url, EXAMPLE, "mq", "mqs")


def test_a_path_is_allowed_where_there_may_be_one() -> None:
    assert parse_url("mq://a/b/c", EXAMPLE, "mq", path=True).path == "/b/c"
    with pytest.raises(ValueError, match="nothing may follow its path"):
        parse_url("mq://a/b?c=d", EXAMPLE, "mq", path=True)


@pytest.mark.parametrize(
    "url",
    [
        "mq://ada:hunter2@a",
        "mq://hunter2@a",
        "mq://ada:x:hunter2@a",
        "mq://ada:hunter2/x@a",
        "mq://ada:hunter2?x@a",
        "mq://ada:hunter2#x@a",
        "mq://ada:[hunter2@a",
        "mq://ada:hunter2\u2100@a",
        "http://:hunter2@a",
        "ada:hunter2@a",
    ],
)
def test_nothing_of_an_address_with_a_password_is_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="an address looks like") as refusal:
        parse_url(url, EXAMPLE, "mq")
    assert "hunter2" not in str(refusal.value)


def test_a_field_tells_which_of_several_it_is() -> None:
    field = TypeAdapter(list[Annotated[str, server_url(EXAMPLE, "mq")]])
    assert field.validate_python(["mq://a"]) == ["mq://a"]
    with pytest.raises(ValidationError) as refused:
        field.validate_python(["mq://a", "b"])
    assert [problem["loc"] for problem in refused.value.errors()] == [(1,)]
