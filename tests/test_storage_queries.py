"""Filters and pipelines on their way to a database."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aats_core.errors import InvalidQuery
from aats_core.query import Clause, parse_filter
from aats_core.query.pipelines import Group, Limit
from aats_core.query.shape import bound
from aats_core.storage.queries import Queries


def make_queries() -> Queries[Clause]:
    return Queries(lambda clause: clause, bound)


GROUP = {"$group": {"_id": "$kind", "n": {"$sum": 1}}}


def test_the_same_pipeline_with_other_values_begins_with_these():
    queries = make_queries()
    for value in (1, 2, "x"):
        begin = queries.begin([{"$match": {"a": value}}, {"$sort": {"b": -1}}, {"$skip": 1}, {"$limit": 2}, GROUP])
        assert begin.query == parse_filter({"a": value})
        assert (begin.order, begin.skip, begin.limit) == (((("b",), -1),), 1, 2)
        assert [type(stage) for stage in begin.rest] == [Group]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"$limit": 1}], [{"$limit": 2}]),
        ([{"$addFields": {"a": 1}}], [{"$addFields": {"a": 1.0}}]),
        ([{"$addFields": {"a": 1}}], [{"$addFields": {"a": True}}]),
        ([{"$sort": {"a": 1, "b": 1}}], [{"$sort": {"b": 1, "a": 1}}]),
        ([{"$sort": {"a": 1}}, {"$match": {"a": 1}}], [{"$sort": {"a": 1}}, {"$match": {"a": 2}}]),
        ([{"$match": {"a": 1}}, {"$sort": {"a": 1}}], [{"$sort": {"a": 1}}, {"$match": {"a": 2}}]),
    ],
)
def test_pipelines_that_differ_are_told_apart(one: Any, other: Any):
    queries = make_queries()
    assert repr(queries.begin(one)) == repr(make_queries().begin(one))
    assert repr(queries.begin(other)) == repr(make_queries().begin(other))
    assert repr(queries.begin(one)) != repr(queries.begin(other))


def test_all_matches_that_can_come_first_make_one_filter():
    queries = make_queries()
    pipeline = [{"$match": {"a": 1}}, {"$sort": {"b": 1}}, {"$match": {"c": re.compile("x")}}, {"$limit": 3}]
    for _ in range(2):
        begin = queries.begin([*pipeline, {"$match": {"d": 4}}])
        assert begin.query == parse_filter({"$and": [{"a": 1}, {"c": re.compile("x")}]})
        assert begin.limit == 3
        assert len(begin.rest) == 1
    assert queries.begin([{"$limit": 1}, {"$limit": 2}]).rest == (Limit(2),)


@pytest.mark.parametrize("wrong", [5, None, "x", [1], [{"$limit": 1, "$skip": 1}], [{"$nothing": 1}]])
def test_what_is_no_pipeline_is_refused(wrong: Any):
    queries = make_queries()
    for _ in range(2):
        with pytest.raises(InvalidQuery, match="pipeline"):
            queries.begin(wrong)


def test_a_wrong_filter_is_named_by_its_place_also_after_a_right_one():
    queries = make_queries()
    for _ in range(2):
        queries.begin([{"$match": {"a": 1}}, {"$limit": 3}])
        with pytest.raises(InvalidQuery, match=re.escape("pipeline.0.$match.a.$x")):
            queries.begin([{"$match": {"a": {"$x": 1}}}, {"$limit": 3}])
