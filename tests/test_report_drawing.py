from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.report.layout import Point, lay_out, lay_out_dense, spread
from aats_core.report.markup import Markup, clean, duration, moment, tag
from aats_core.report.path import critical_path, in_order, layers


class TestGraph:
    def test_order_puts_needs_first_and_leaves_out_cycles(self) -> None:
        assert in_order({"c": ["b"], "b": ["a"], "a": [], "x": ["y"], "y": ["x"]}) == ["a", "b", "c"]

    def test_a_task_stands_right_of_everything_it_needs(self) -> None:
        assert layers({"a": [], "b": ["a"], "c": ["a", "b"], "d": []}) == [["a", "d"], ["b"], ["c"]]

    def test_a_need_named_twice_counts_once(self) -> None:
        assert in_order({"a": [], "b": ["a", "a"]}) == ["a", "b"]

    def test_nothing_run_is_no_critical_path(self) -> None:
        assert critical_path(["a"], {"a": []}, {"a": 0.0}) == ([], 0.0)

    def test_boxes_of_one_column_keep_their_distance(self) -> None:
        needs = {"root": [], **{f"n{i}": ["root"] for i in range(7)}, "end": ["n0", "root"]}

        drawn = lay_out(needs, size=Point(100, 40), gap=Point(50, 10))

        column = sorted(drawn.places[f"n{i}"].y for i in range(7))
        assert all(below - above >= 50 - 1e-6 for above, below in pairwise(column))
        assert min(point.y for point in drawn.places.values()) >= 20 - 1e-6
        assert max(point.y for point in drawn.places.values()) <= drawn.height - 20 + 1e-6

    def test_a_long_edge_passes_the_columns_between_beside_their_boxes(self) -> None:
        drawn = lay_out({"a": [], "b": ["a"], "c": ["a", "b"]}, size=Point(100, 40), gap=Point(50, 10))

        [long] = [route for route in drawn.routes if (route.source, route.target) == ("a", "c")]
        assert len(long.points) == 4
        assert abs(long.points[1].y - drawn.places["b"].y) >= 20

    def test_a_wide_layer_takes_several_columns(self) -> None:
        drawn = lay_out_dense({f"n{i}": [] for i in range(100)}, across=10, down=10, rows=48)

        assert (drawn.width, drawn.height) == (30, 480)
        assert len(set(drawn.places.values())) == 100

    @given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 50)), max_size=30))
    def test_spreading_keeps_order_and_room(self, wanted: list[tuple[float, float]]) -> None:
        rooms = [room for _, room in wanted]

        found = spread([height for height, _ in wanted], rooms)

        assert len(found) == len(wanted)
        for index in range(1, len(found)):
            assert found[index] - found[index - 1] >= (rooms[index] + rooms[index - 1]) / 2 - 1e-6

    def test_what_fits_already_is_not_moved(self) -> None:
        assert spread([0.0, 10.0, 25.0], [10.0, 10.0, 10.0]) == [0.0, 10.0, 25.0]


class TestMarkup:
    def test_children_and_attributes_are_escaped(self) -> None:
        assert tag("b", "<i>&", class_='"x"', hidden=True, title=None) == (
            '<b class="&quot;x&quot;" hidden="">&lt;i&gt;&amp;</b>'
        )

    def test_markup_is_kept(self) -> None:
        assert tag("b", Markup("<i></i>"), x=1.0, y=0.125) == '<b x="1" y="0.12"><i></i></b>'

    @pytest.mark.parametrize(
        ("raw", "shown"),
        [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07text", "text"),
            ("a\x00b\x1bc", "a\u2400b\u241bc"),
            ("one\r\ntwo\tthree\rfour", "one\ntwo\tthree\u240dfour"),
            ("user\u202etxt", "user[U+202E]txt"),
            ("bad \udcff byte", "bad \ufffd byte"),
            ("ünï ✓", "ünï ✓"),
        ],
    )
    def test_control_characters_are_harmless_and_visible(self, raw: str, shown: str) -> None:
        assert clean(raw) == shown

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (0, "0 s"),
            (0.0123, "12 ms"),
            (0.9996, "1.00 s"),
            (3.14159, "3.14 s"),
            (59.94, "59.9 s"),
            (59.96, "1 m 00 s"),
            (3599.6, "1 h 00 m"),
            (7260, "2 h 01 m"),
            (90000, "1 d 1 h"),
        ],
    )
    def test_durations_are_for_people(self, seconds: float, shown: str) -> None:
        assert duration(seconds) == shown

    def test_a_time_outside_of_the_calendar_is_still_shown(self) -> None:
        assert moment(0) == "1970-01-01 00:00:00 UTC"
        assert moment(1e18) == "1000000000000000000 (Unix seconds)"
