from __future__ import annotations

import pytest
from aats_broker_kafka import KafkaSettings
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"servers": []}, "at least 1"),
        ({"servers": ["kafka.internal"]}, "it lacks the port; an address looks like k1.internal:9092"),
        ({"servers": [":9092"]}, "exactly one host is needed"),
        ({"servers": ["kafka://k1:9092"]}, "it has no scheme; an address looks like k1.internal:9092"),
        ({"servers": ["k1:9092", "k2:99999"]}, "servers.1\n.*number up to 65535"),
        ({"servers": ["k1:9092,k2:9092"]}, "number up to 65535"),
        ({"registry": {"url": "registry:8081"}}, "registry.url\n.*has to begin with http://"),
        ({"session": 1, "heartbeat": 1}, "at least twice the heartbeat"),
        ({"mechanism": "GSSAPI"}, "SCRAM-SHA-512"),
        ({"internal_prefix": "a.b"}, "internal_prefix"),
        ({"partitions": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused(chosen: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        KafkaSettings.model_validate(chosen)


def test_messages_are_kept_for_seven_days_unless_told_otherwise() -> None:
    assert KafkaSettings().retention == 7 * 24 * 3600
    assert KafkaSettings.model_validate({"retention": "2h"}).retention == 7200


@pytest.mark.parametrize(
    ("chosen", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": {}}, "SSL"),
        ({"user": "ada"}, "SASL_PLAINTEXT"),
        ({"user": "ada", "tls": {}}, "SASL_SSL"),
    ],
)
def test_the_protocol_follows_from_user_and_tls(chosen: dict[str, object], protocol: str) -> None:
    options = KafkaSettings.model_validate(chosen).connection()
    assert options["security_protocol"] == protocol
    assert ("sasl_mechanism" in options) == ("user" in chosen)
    assert ("ssl_context" in options) == ("tls" in chosen)


def test_a_password_is_not_shown() -> None:
    settings = KafkaSettings.model_validate({"user": "ada", "password": "correct-horse"})
    assert "correct-horse" not in repr(settings)
    assert settings.connection()["sasl_plain_password"] == "correct-horse"
