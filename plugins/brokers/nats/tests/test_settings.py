from __future__ import annotations

from typing import Any

import pytest
from aats_broker_nats import NatsSettings
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("chosen", "place", "complaint"),
    [
        ({"servers": ["nats://a:4222", "http://x:1"]}, ("servers", 1), "it has to begin with nats:// or tls://"),
        ({"servers": [":::"]}, ("servers", 0), "an address looks like nats://host:4222"),
        ({"servers": ["nats://ada:hunter2@a"]}, ("servers", 0), "user and password are settings of their own"),
        ({"monitoring": "a:8222"}, ("monitoring",), "an address looks like http://host:8222"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(chosen: dict[str, Any], place: tuple[Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NatsSettings.model_validate(chosen)
    (problem,) = refused.value.errors(include_input=False)
    assert problem["loc"] == place
    assert complaint in problem["msg"]
    assert "hunter2" not in problem["msg"]
