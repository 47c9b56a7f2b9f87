"""What pipelines do where it is not plain: the answers are those of MongoDB 6.0."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aats_core.errors import InvalidQuery
from aats_core.query import Context, matcher, parse_pipeline, run_pipeline

FOREIGN = ({"_id": "null", "x": None}, {"_id": "none"}, {"_id": "one", "x": 1}, {"_id": "array", "x": [1]})


@pytest.mark.parametrize(
    ("document", "path", "joined"),
    [
        ({"c": [1, 2]}, "c", ["array", "one"]),
        ({"c": [{"a": 1}, {"b": 1}]}, "c.a", ["array", "one"]),
        ({"c": []}, "c", ["none", "null"]),
        ({"c": [1, 2]}, "c.0", ["array", "one"]),
        ({"c": [2, [1]]}, "c.1", ["array", "one"]),
        ({"c": [False, None]}, "c.0", []),
        ({"c": [{"0": 1}]}, "c.0", []),
        ({"c": [{"a": 1}]}, "c.0.a", ["array", "one"]),
        ({"c": {"0": 1}}, "c.0", ["array", "one"]),
        ({"c": [1]}, "c.1", ["none", "null"]),
        ({"c": [[]]}, "c.0", ["none", "null"]),
    ],
)
def test_a_lookup_finds_what_equals_one_of_the_values_at_the_local_path(document, path, joined):
    lookup = {"$lookup": {"from": "foreign", "localField": path, "foreignField": "x", "as": "found"}}
    context = Context(datetime.now(UTC), lambda _, clause: filter(matcher(clause), FOREIGN))

    (result,) = run_pipeline([document], parse_pipeline([lookup]), context)

    assert sorted(each["_id"] for each in result["found"]) == joined


@pytest.mark.parametrize(("direction", "sorted_ids"), [(1, [3, 1, 4, 6, 5, 0, 7, 2]), (-1, [2, 7, 0, 5, 1, 4, 6, 3])])
def test_an_array_that_is_named_by_its_position_sorts_whole(direction, sorted_ids):
    found = ([[None]], None, [[1, 2]], [[]], [None], [1], {"0": [None]}, [[-1]])
    documents = [{"_id": number, "c": value} for number, value in enumerate(found)]
    pipeline = parse_pipeline([{"$sort": {"c.0": direction, "_id": 1}}])

    ordered = run_pipeline(documents, pipeline, Context(datetime.now(UTC), lambda *_: ()))

    assert [each["_id"] for each in ordered] == sorted_ids


@pytest.mark.parametrize("milliseconds", [2**63 - 1, -(2**62), 2**48, 1e300])
@pytest.mark.parametrize("operator", ["$add", "$subtract"])
def test_a_date_that_python_has_none_of_is_refused_as_that(operator, milliseconds):
    computed = {"$addFields": {"x": {operator: ["$at", milliseconds]}}}
    context = Context(datetime.now(UTC), lambda *_: ())

    with pytest.raises(InvalidQuery, match="date value out of range"):
        run_pipeline([{"at": datetime(1970, 1, 1, tzinfo=UTC)}], parse_pipeline([computed]), context)


def test_what_is_left_out_after_a_lookup_is_not_computed_before_it():
    lookup = {"$lookup": {"from": "foreign", "localField": "x", "foreignField": "x", "as": "found"}}
    pipeline = [{"$addFields": {"y": {"$add": ["$x", 1]}}}, lookup, {"$skip": 1}]
    context = Context(datetime.now(UTC), lambda _, clause: filter(matcher(clause), FOREIGN))

    (result,) = run_pipeline([{"x": "no number"}, {"x": 1}], parse_pipeline(pipeline), context)

    assert (result["y"], [each["_id"] for each in result["found"]]) == (2, ["one", "array"])
