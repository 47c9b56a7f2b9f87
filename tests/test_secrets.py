"""Secrets are masked in whatever form they stand in a text."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.secrets import MASK, Redactor, redact, remember

PASSWORD = "pass word/&é'\"\\x"


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.remember(PASSWORD)
    return redactor


@pytest.mark.parametrize("form", [str, lambda s: quote(s, safe=""), quote_plus, repr, json.dumps])
def test_a_secret_is_masked_as_it_is_and_as_it_may_be_written(redactor, form):
    shown = redactor.redact(f"tried {form(PASSWORD)} in vain")

    assert MASK in shown
    assert "word" not in shown
    assert shown.startswith("tried ")
    assert shown.endswith(" in vain")


def test_what_is_no_secret_stays(redactor):
    assert redactor.redact("nothing to see: password") == "nothing to see: password"


def test_of_two_secrets_the_one_that_holds_the_other_is_masked_whole():
    redactor = Redactor()
    redactor.remember("hunter2")
    redactor.remember("hunter2000")

    assert redactor.redact("hunter2000 hunter2") == f"{MASK} {MASK}"


def test_a_short_secret_is_masked_where_it_is_a_word_of_its_own():
    redactor = Redactor()
    redactor.remember("ab")

    assert redactor.redact("ab, cab 'ab' abc") == f"{MASK}, cab '{MASK}' abc"


def test_a_short_number_is_masked_only_as_the_whole_of_a_setting():
    redactor = Redactor()
    redactor.remember("4")

    assert redactor.redact("attempt 4 of 5") == "attempt 4 of 5"
    assert redactor.mask({"a": 4, "b": "4", "c": 4.5, "d": "4 of 5"}) == {"a": MASK, "b": MASK, "c": 4.5, "d": "4 of 5"}


def test_values_are_masked_wherever_they_lie():
    redactor = Redactor()
    redactor.remember("hunter2")
    redactor.remember("True")
    value = {"hunter2": ["x hunter2", {"a": "amqp://u:p@h"}], "b": True, "c": None}

    assert redactor.mask(value) == {MASK: [f"x {MASK}", {"a": f"amqp://{MASK}@h"}], "b": True, "c": None}


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_secret_masks_nothing(blank):
    redactor = Redactor()
    redactor.remember(blank)

    assert redactor.redact("a b\nc") == "a b\nc"


def test_each_line_of_a_long_secret_is_masked():
    redactor = Redactor()
    redactor.remember("-----BEGIN-----\nMIIEvQIBADANBg\n}\n-----END-----\n")

    assert redactor.redact("line MIIEvQIBADANBg of {}") == f"line {MASK} of {{}}"


def test_the_password_within_a_secret_url_is_masked_on_its_own():
    redactor = Redactor()
    redactor.remember("postgres://app:s%40cret9@db.internal/main")

    assert redactor.redact('password "s@cret9" or s%40cret9 refused') == f'password "{MASK}" or {MASK} refused'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://guest:pw@host/vhost", f"amqp://{MASK}@host/vhost"),
        ("redis://:pw@host:6379", f"redis://{MASK}@host:6379"),
        ("postgresql+asyncpg://u:p@ss@host", f"postgresql+asyncpg://{MASK}@host"),
        ("two a://b:c@d, e://f:g@h", f"two a://{MASK}@d, e://{MASK}@h"),
        ("nats://host:4222/a@b", "nats://host:4222/a@b"),
        ("https://host/path?x=1:2@3", "https://host/path?x=1:2@3"),
        ("mail me: a:b@c", "mail me: a:b@c"),
    ],
)
def test_user_and_password_of_a_url_are_masked_though_nobody_named_them_secret(text, shown):
    assert Redactor().redact(text) == shown


@given(secrets=st.lists(st.text(min_size=4, max_size=20), min_size=1, max_size=5), before=st.text(), after=st.text())
def test_no_secret_survives_in_any_text(secrets, before, after):
    redactor = Redactor()
    for secret in secrets:
        redactor.remember(secret)

    for secret in secrets:
        secret = secret.strip()
        shown = redactor.redact(f"{before} {secret} {after}")
        assert len(secret) < 4 or secret in MASK or secret not in shown.replace(MASK, "\0")


def test_the_process_remembers_its_secrets_in_one_place():
    remember("correct-horse-battery")

    assert redact("correct-horse-battery staple") == f"{MASK} staple"
