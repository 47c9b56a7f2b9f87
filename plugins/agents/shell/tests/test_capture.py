from __future__ import annotations

import asyncio
import os

import pytest
from aats_agent_shell.capture import Capture, open_capture
from hypothesis import given
from hypothesis import strategies as st


def captured(*chunks: bytes, limit: int) -> Capture:
    async def take() -> Capture:
        capture = Capture(limit)
        for chunk in chunks:
            capture.data_received(chunk)
        return capture

    return asyncio.run(take())


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30).map(lambda n: 2 * n))
def test_what_fits_is_kept_whole_and_of_the_rest_the_begin_and_the_end(chunks: list[bytes], limit: int) -> None:
    capture, whole = captured(*chunks, limit=limit), b"".join(chunks)
    assert capture.received == len(whole)
    assert capture.dropped == max(len(whole) - limit, 0)
    if capture.dropped:
        head, tail = whole[: limit // 2], whole[-(limit // 2) :]
        middle = f"\n[... {capture.dropped} bytes left out ...]\n"
        assert capture.text() == head.decode(errors="replace") + middle + tail.decode(errors="replace").rstrip("\r\n")
    else:
        assert capture.text() == whole.decode(errors="replace").rstrip("\r\n")


def test_it_keeps_no_more_than_a_small_multiple_of_the_limit() -> None:
    capture = captured(*[b"x" * 1000] * 1000, limit=4000)
    assert len(capture._head) + len(capture._tail) <= 3 * 4000


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b"", ""),
        (b"one", "one"),
        (b"one\ntwo\n", "two"),
        (b"one\n \n\n", "one"),
        (b"10%\r20%\r", "20%"),
        (b"\x1b[1;32mgreen\x1b[0m\x07", "green"),
        (b"\xff\xfeodd", "\ufffd\ufffdodd"),
        (b"x" * 9000 + b"\nlast", "last"),
    ],
)
def test_the_last_line_is_bare_text(written: bytes, line: str) -> None:
    assert captured(written, limit=4000).last_line() == line


def test_the_end_of_the_output_is_not_waited_for_where_someone_holds_the_pipe_open() -> None:
    async def scenario() -> None:
        capture, into = await open_capture(1000)
        os.write(into, b"text")
        async with asyncio.timeout(30):
            await capture.finish()
        assert capture.text() == "text"
        os.close(into)

    asyncio.run(scenario())
