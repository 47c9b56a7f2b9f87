"""The graph of a plan's tasks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import InvalidRequest
from aats_core.plans import (
    critical_path,
    dependents,
    earliest_ends,
    find_cycles,
    lower_bound,
    needs_of,
    topological_order,
    upward_ranks,
)
from aats_core.task import Task

DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
SECONDS = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.0}


@st.composite
def graphs(draw, *, acyclic):
    size = draw(st.integers(min_value=0, max_value=12))
    names = [f"t{index}" for index in range(size)]
    needs = {}
    for index, name in enumerate(names):
        possible = names[:index] if acyclic else names
        needs[name] = tuple(draw(st.lists(st.sampled_from(possible), max_size=4))) if possible else ()
    return dict(draw(st.permutations(list(needs.items()))))


def reachable(needs, name):
    reached, pending = set(), list(needs[name])
    while pending:
        need = pending.pop()
        if need not in reached:
            reached.add(need)
            pending += needs[need]
    return reached


class TestOrder:
    def test_each_task_comes_after_its_needs_otherwise_as_given(self):
        needs = {"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": (), "e": ()}

        assert topological_order(needs) == ["a", "b", "c", "d", "e"]

    def test_needs_that_are_no_tasks_are_left_out(self):
        assert topological_order({"a": ("nobody",)}) == ["a"]

    def test_a_cycle_is_named(self):
        with pytest.raises(InvalidRequest, match="a -> b -> a"):
            topological_order({"a": ("b",), "b": ("a",)})

    def test_a_chain_of_any_length_has_an_order(self):
        needs = {f"t{index}": (f"t{index + 1}",) for index in range(100_000)}

        assert topological_order(needs)[0] == "t99999"

    @given(graphs(acyclic=True))
    def test_every_graph_without_cycles_has_an_order(self, needs):
        order = topological_order(needs)

        assert sorted(order) == sorted(needs)
        assert all(order.index(need) < order.index(name) for name in needs for need in needs[name])


class TestCycles:
    def test_a_graph_without_cycles_has_none(self):
        assert find_cycles(DIAMOND) == []

    def test_a_cycle_goes_from_a_task_through_its_needs_back(self):
        assert find_cycles({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}) == [["a", "b", "c", "a"]]

    def test_a_task_that_needs_itself_is_one(self):
        assert find_cycles({"a": ("a",)}) == [["a", "a"]]

    def test_separate_cycles_are_all_found(self):
        needs = {"a": ("b",), "b": ("a", "c"), "c": ("d",), "d": ("c",), "e": ("e",)}

        assert find_cycles(needs) == [["a", "b", "a"], ["c", "d", "c"], ["e", "e"]]

    def test_a_circle_of_any_length_is_found(self):
        needs = {f"t{index}": (f"t{(index + 1) % 100_000}",) for index in range(100_000)}

        assert len(find_cycles(needs)[0]) == 100_001

    def test_tasks_that_all_need_each_other_are_quickly_done(self):
        names = [f"t{index}" for index in range(500)]

        needs = {name: tuple(other for other in names if other != name) for name in names}

        assert len(find_cycles(needs)) == 250

    @given(graphs(acyclic=False))
    def test_what_is_found_are_cycles_that_share_no_task(self, needs):
        cycles = find_cycles(needs)

        for cycle in cycles:
            assert cycle[0] == cycle[-1]
            assert all(need in needs[name] for name, need in pairwise(cycle))
        members = [name for cycle in cycles for name in cycle[1:]]
        assert len(members) == len(set(members))

    @given(graphs(acyclic=False))
    def test_every_group_of_tasks_that_depend_on_each_other_has_one(self, needs):
        reach = {name: reachable(needs, name) for name in needs}
        members = {name for cycle in find_cycles(needs) for name in cycle}

        for name in needs:
            group = {other for other in reach[name] if name in reach[other]}
            assert not group or group & members


class TestTimes:
    def test_a_task_ends_at_the_earliest_after_its_latest_need(self):
        assert earliest_ends(DIAMOND, SECONDS) == {"a": 1.0, "b": 6.0, "c": 3.0, "d": 7.0}

    def test_the_critical_path_is_the_longest_chain(self):
        path = critical_path(DIAMOND, SECONDS)

        assert path.tasks == ("a", "b", "d")
        assert path.seconds == 7.0

    def test_tasks_without_a_length_take_no_time(self):
        assert critical_path(DIAMOND, {"c": 3.0}).seconds == 3.0

    def test_a_plan_without_tasks_has_an_empty_path(self):
        assert critical_path({}, {}).tasks == ()
        assert lower_bound({}, {}, 4) == 0.0

    def test_an_upward_rank_is_the_longest_way_to_the_end(self):
        assert upward_ranks(DIAMOND, SECONDS) == {"a": 7.0, "b": 6.0, "c": 3.0, "d": 1.0}

    def test_dependents_are_the_needs_turned_round(self):
        assert dependents({**DIAMOND, "e": ("a", "a", "nobody")}) == {
            "a": ["b", "c", "e"],
            "b": ["d"],
            "c": ["d"],
            "d": [],
            "e": [],
        }

    def test_few_workers_are_bound_by_the_work(self):
        assert lower_bound(DIAMOND, SECONDS, 1) == 9.0
        assert lower_bound(DIAMOND, SECONDS, 100) == 7.0

    def test_the_graph_of_tasks_keeps_their_order(self):
        tasks = (Task("b", "k", needs=("a",)), Task("a", "k"))

        assert list(needs_of(tasks).items()) == [("b", ("a",)), ("a", ())]

    @given(graphs(acyclic=True), st.data())
    def test_ranks_ends_and_path_agree(self, needs, data):
        seconds = {name: data.draw(st.integers(min_value=0, max_value=9)) for name in needs}
        path = critical_path(needs, seconds)

        assert path.seconds == sum(seconds[name] for name in path.tasks)
        assert path.seconds == max(upward_ranks(needs, seconds).values(), default=0)
        assert path.seconds == max(earliest_ends(needs, seconds).values(), default=0)
