"""The heap whose keys change."""

from __future__ import annotations

from aats_agent_task_scheduler.agenda import Agenda
from aats_agent_task_scheduler.heap import LazyHeap
from hypothesis import given, settings
from hypothesis import strategies as st

MOVES = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 20))))


def test_an_empty_heap_has_no_first() -> None:
    heap: LazyHeap[str] = LazyHeap(len)

    assert heap.first() is None
    assert heap.bound() is None
    assert heap.first_that(lambda item: True) is None


def test_the_smallest_key_comes_first() -> None:
    keys = {"a": 3, "b": 1, "c": 2}
    heap = LazyHeap(keys.get)
    for item in keys:
        heap.update(item)

    assert heap.first() == (1, "b")


def test_a_key_that_grew_is_noticed_without_a_word() -> None:
    keys = {"a": 1, "b": 2}
    heap = LazyHeap(keys.get)
    for item in keys:
        heap.update(item)

    keys["a"] = 3

    assert heap.first() == (2, "b")


def test_an_item_whose_key_became_none_leaves_and_can_come_back() -> None:
    keys: dict[str, int | None] = {"a": 1, "b": 2}
    heap = LazyHeap(keys.get)
    for item in keys:
        heap.update(item)

    keys["a"] = None
    assert heap.first() == (2, "b")
    assert list(heap) == ["b"]

    keys["a"] = 1
    heap.update("a")
    assert heap.first() == (1, "a")


def test_items_that_do_not_fit_stay_in_the_heap() -> None:
    keys = {"a": 1, "b": 2, "c": 3}
    heap = LazyHeap(keys.get)
    for item in keys:
        heap.update(item)

    assert heap.first_that(lambda item: item == "c") == "c"
    assert heap.first_that(lambda item: False) is None
    assert heap.first() == (1, "a")


@settings(deadline=None)
@given(MOVES)
def test_it_gives_what_a_search_through_all_would_give(moves: list[tuple[int, int | None]]) -> None:
    """Whatever happens to the keys, as long as `update` hears of those that became smaller."""
    keys: dict[int, int | None] = {}
    heap: LazyHeap[int] = LazyHeap(keys.get)
    for item, key in moves:
        before, keys[item] = keys.get(item), key
        if key is not None and (before is None or key < before):
            heap.update(item)
        known = [each for each in keys.values() if each is not None]
        bound = heap.bound()
        first = heap.first()
        if not known:
            assert first is None
            continue
        assert first is not None
        assert first[0] == min(known)
        assert keys[first[1]] == first[0]
        assert bound <= first[0]


def test_an_agenda_gives_what_is_due_earliest_first() -> None:
    agenda: Agenda[str] = Agenda()
    for time, item in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (2.0, "b too")):
        agenda.add(time, item)

    assert agenda.next() == 1.0
    assert list(agenda.due(2.0)) == ["a", "b", "b too"]
    assert agenda.next() == 3.0
    assert list(agenda.due(2.5)) == []


def test_an_agenda_takes_additions_while_it_is_gone_through() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.add(1.0, "a")

    for _ in agenda.due(2.0):
        agenda.add(3.0, "again")

    assert list(agenda.due(3.0)) == ["again"]
    assert agenda.next() is None


def test_it_does_not_grow_with_the_number_of_changes() -> None:
    """As where one worker of many is taken and freed a million times, and the others stay idle."""
    keys = {"busy": 0, "idle": 1}
    heap = LazyHeap(keys.get)
    for item in keys:
        heap.update(item)

    for _ in range(10_000):
        keys["busy"] = 2
        assert heap.first() == (1, "idle")
        keys["busy"] = 0
        heap.update("busy")
        assert heap.first() == (0, "busy")

    assert len(heap._heap) < 30


def test_a_discarded_item_is_gone() -> None:
    keys = {"a": 1, "b": 2}
    heap = LazyHeap(keys.get)
    for item in keys:
        heap.update(item)

    heap.discard("a")
    heap.discard("never there")

    assert heap.first() == (2, "b")
