from __future__ import annotations

import time

from aats_broker_kafka.driver import TopicPartition
from aats_broker_kafka.partition import HELD, LENT, NOTE_BYTES, SETTLED, Entry, Partition, State, decode_note
from hypothesis import given, settings
from hypothesis import strategies as st

from aats_core.message import Message

PLACE = TopicPartition("t", 0)


def read(part: Partition, offset: int) -> Entry:
    """Let a partition have read the message at an offset."""
    entry = Entry(part, offset, Message("m"), 0, 1)
    part.add(entry)
    part.position = offset + 1
    return entry


@given(
    st.integers(0, 2**40),
    st.lists(st.sampled_from(["untouched", "settled", "given back", "held", "lent"]), max_size=60),
    st.integers(1, 40),
)
def test_what_was_done_of_a_partition_is_read_from_its_note(first: int, fates: list[str], attempts: int) -> None:
    part = Partition(PLACE, first, "", first)
    expected = {}
    for offset, fate in enumerate(fates, first):
        entry = read(part, offset)
        if fate != "untouched":
            entry.attempts, part.top = attempts, offset
            expected[offset] = 4 * attempts
        if fate in ("held", "lent"):
            entry.state = State.HELD
            expected[offset] += HELD
        if fate == "lent":
            entry.lent = "other"
            expected[offset] += LENT
        if fate == "settled":
            part.settle(entry)
            expected[offset] = SETTLED

    marks = decode_note(part.committed, part.note()).marks

    assert marks == {offset: mark for offset, mark in expected.items() if offset >= part.committed}
    assert all(expected.get(offset) == SETTLED for offset in range(first, part.committed))


def test_the_committed_offset_is_that_of_the_first_message_that_is_not_settled() -> None:
    part = Partition(PLACE, 10, "", 10)
    entries = [read(part, offset) for offset in range(10, 14)]
    for number, expected in ((1, 10), (2, 10), (0, 13), (3, 14)):
        part.settle(entries[number])
        assert part.committed == expected


def test_marks_of_what_is_not_read_again_are_kept() -> None:
    before = Partition(PLACE, 0, "", 0)
    for entry in [read(before, offset) for offset in range(6)][2:4]:
        before.settle(entry)
    after = Partition(PLACE, 0, before.note(), 6)
    first = read(after, 0)
    after.marks.pop(0, None)
    after.settle(first)
    assert decode_note(after.committed, after.note()).marks == {2: SETTLED, 3: SETTLED}


def test_when_messages_are_due_is_read_from_the_note_until_they_are_handed_out() -> None:
    before = Partition(PLACE, 3, "", 3)
    soon, late, unread, handed, over, settled = [read(before, offset) for offset in range(3, 9)]
    now = time.time()
    for entry, delay in ((soon, 60), (late, 86_400), (unread, 30), (handed, 0), (over, -5), (settled, 60)):
        before.attempt(entry)
        entry.state = State.WAITING
        if delay:
            before.delay(entry, now + delay)
    before.settle(settled)

    after = Partition(PLACE, before.committed, before.note(), 9)
    for offset in (soon.offset, late.offset):
        read(after, offset).attempts = 1
    again = Partition(PLACE, after.committed, after.note(), 9)

    for part in (after, again):
        for entry, delay in ((soon, 60), (late, 86_400), (unread, 30)):
            assert 0 <= part.delayed.get(entry.offset, 0.0) - now - delay <= 0.11
        assert not any(part.delayed.get(entry.offset, 0.0) for entry in (handed, over, settled))
        assert part.marks.keys() >= {unread.offset, handed.offset, over.offset, settled.offset}


def test_times_that_a_note_has_no_room_for_are_left_out() -> None:
    part = Partition(PLACE, 0, "", 0)
    for offset in range(2_000):
        entry = read(part, offset)
        entry.attempts, part.top = 1, offset
        part.delay(entry, time.time() + 1e6)
    note = part.note()
    assert len(note) <= NOTE_BYTES * 4 / 3
    marks, delayed = decode_note(0, note)
    assert len(marks) == 2_000
    assert 300 < len(delayed) < 2_000


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 30), st.booleans())
def test_a_note_never_grows_beyond_what_a_server_takes(every: int, second: int, attempts: int, noting: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    part = Partition(PLACE, 0, "", 0)
    handed, offset = [], 0
    while offset < 5_000:
        entry = read(part, offset)
        if not offset % every:
            if not part.has_room():
                break
            part.attempt(entry)
            entry.attempts, entry.state = attempts, State.HELD
            handed.append(entry)
        offset += 1
        if noting and not offset % 50:
            part.note()
    for entry in handed[1::second]:
        part.settle(entry)
    assert len(handed) > 150
    assert len(decode_note(part.committed, part.note()).marks) == part.top + 1 - part.committed - untouched(part)
    assert len(part.note()) <= NOTE_BYTES * 4 / 3


def untouched(part: Partition) -> int:
    """Count the messages before the last touched one that nobody had."""
    return sum(not entry.attempts for offset, entry in part.open.items() if offset <= part.top)


def test_a_note_of_somebody_else_is_no_note() -> None:
    assert decode_note(5, "my own metadata") == ({}, {})
    assert decode_note(5, "") == ({}, {})
