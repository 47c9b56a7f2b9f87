from __future__ import annotations

from aats_broker_nats.window import Entry, State, Window

from aats_core.message import Message


def entry(window: Window[object], sequence: int, key: str | None = None, priority: int = 5) -> Entry[object]:
    made: Entry[object] = Entry(sequence, "t", key, "")
    made.message, made.priority, made.deliveries = Message("n"), priority, 1
    window.admit(made)
    return made


def taken(window: Window[object]) -> list[int]:
    found = []
    while (next_one := window.pop()) is not None:
        next_one.state = State.HELD
        found.append(next_one.sequence)
    return found


def test_the_most_urgent_is_first_and_then_the_oldest() -> None:
    window = Window[object]()
    for sequence, priority in ((1, 5), (2, 1), (3, 5), (4, 1)):
        window.offer(entry(window, sequence, priority=priority))

    assert taken(window) == [2, 4, 1, 3]


def test_a_key_waits_for_its_first_message_whatever_becomes_of_that() -> None:
    window = Window[object]()
    first, second = entry(window, 1, "k"), entry(window, 2, "k", priority=1)
    window.offer(second)
    assert taken(window) == []

    window.offer(first)
    assert taken(window) == [1]
    first.state = State.COMING  # the server has it for a while
    assert taken(window) == []

    window.remove(first)
    assert taken(window) == [2]


def test_the_same_key_of_another_topic_is_another_key() -> None:
    window = Window[object]()
    entry(window, 1, "k")
    other: Entry[object] = Entry(2, "other", "k", "")
    window.admit(other)
    window.offer(other)

    assert taken(window) == [2]


def test_an_older_message_that_is_met_late_goes_first() -> None:
    window = Window[object]()
    window.closed = True
    late, free = entry(window, 5, "k"), entry(window, 6)
    window.offer(late)
    window.offer(free)
    assert taken(window) == [6]

    early = entry(window, 3, "k")
    window.offer(early)
    window.open()
    assert taken(window) == [3]
    window.remove(early)
    assert taken(window) == [5]


def test_removing_twice_is_harmless() -> None:
    window = Window[object]()
    gone = entry(window, 1, "k")
    window.remove(gone)
    window.remove(gone)

    assert not window.entries
