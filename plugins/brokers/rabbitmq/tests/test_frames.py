from __future__ import annotations

import pamqp.frame
from aats_broker_rabbitmq import frames
from aats_broker_rabbitmq.delays import step
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

TABLES = st.none() | st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50) | st.integers(0, 2**40))


@given(st.text(max_size=60), st.binary(max_size=5000), TABLES, st.integers(1000, 5000))
def test_a_message_is_what_the_driver_reads(
    key: str, body: bytes, headers: dict[str, object] | None, most: int
) -> None:
    data = frames.publish(3, "agent.fanout", key, body, headers, most)

    found = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 3
        assert size <= most or isinstance(frame, ContentHeader), "only that one cannot be parted"
        found.append(frame)
        data = data[size:]
    method, header, *parts = found
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("agent.fanout", key, False)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    assert header.properties.delivery_mode == 2
    assert (header.properties.headers or {}) == (headers or {})
    assert b"".join(part.value for part in parts if isinstance(part, ContentBody)) == body


@given(st.integers(0, 2**40), st.lists(st.integers(1, 2**40), max_size=5))
def test_settling_is_what_the_driver_reads(upto: int, single: list[int]) -> None:
    data = frames.settle(7, upto, single)

    found = []
    while data:
        size, _, frame = pamqp.frame.unmarshal(data)
        found.append(frame)
        data = data[size:]
    expected = [(upto, True)] if upto else []
    assert [(ack.delivery_tag, ack.multiple) for ack in found] == [*expected, *((tag, False) for tag in single)]


@given(st.floats(0, 1e9))
def test_a_step_is_the_longest_that_is_not_too_long(wait: float) -> None:
    found = step(wait) / 1000

    assert found <= wait
    if not found:
        assert wait < 0.1
    elif wait < 100_000:
        assert 2 * found > wait
