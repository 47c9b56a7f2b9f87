from __future__ import annotations

from aats_broker_kafka.driver import TopicPartition
from aats_broker_kafka.partition import HELD, LENT, NOTE_BYTES, SETTLED, Entry, Partition, State, decode_marks
from hypothesis import given
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

    marks = decode_marks(part.committed, part.note())

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
    assert decode_marks(after.committed, after.note()) == {2: SETTLED, 3: SETTLED}


def test_a_note_never_grows_beyond_what_a_server_takes() -> None:
    part = Partition(PLACE, 0, "", 0)
    offset = marked = 0
    while part.has_room() and offset < 100_000:
        entry = read(part, offset)
        if offset % 2:
            entry.attempts, entry.state, part.top = 70 + offset % 3, State.HELD, offset
            marked += 1
        offset += 1
        if not offset % 50:
            part.note()
    assert marked > 300
    assert len(part.note()) <= NOTE_BYTES * 4 / 3


def test_a_note_of_somebody_else_is_no_note() -> None:
    assert decode_marks(5, "my own metadata") == {}
    assert decode_marks(5, "") == {}
