"""What a query makes of documents depends on no other fields than those that it is said to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aats_core.errors import InvalidQuery
from aats_core.query import Context, matcher, parse_filter, parse_pipeline, run_pipeline
from aats_core.query.filters import And
from aats_core.query.needs import fields_of_filter, fields_of_pipeline
from aats_core.query.values import normal
from aats_core.testing import strategies
from aats_core.testing.strategies_pipelines import pipelines

CONTEXT = Context(datetime(2026, 1, 31, tzinfo=UTC), lambda *_: ())


def cut(documents: list[dict[str, Any]], fields: frozenset[str] | None) -> list[dict[str, Any]]:
    """Return what is left of documents without the fields that nobody looks at."""
    return [{k: v for k, v in each.items() if fields is None or k in fields} for each in documents]


def made(documents: list[dict[str, Any]], pipeline: Any) -> str:
    """Return what a pipeline makes of documents, or how it refuses them."""
    try:
        return repr(run_pipeline(documents, pipeline, CONTEXT))
    except InvalidQuery as error:
        return str(error)


@settings(max_examples=300, deadline=None, database=None)
@given(data=st.data(), found=st.lists(strategies.documents(), max_size=4))
def test_a_pipeline_makes_the_same_of_documents_without_the_fields_that_it_does_not_need(data, found):
    documents = [normal({"_id": number, **each}) for number, each in enumerate(found)]
    try:
        pipeline = parse_pipeline([*data.draw(pipelines("other")), {"$group": {"_id": "$a", "n": {"$sum": "$b"}}}])
        expected = made(documents, pipeline)
    except InvalidQuery:
        return
    assert made(cut(documents, fields_of_pipeline(And(()), pipeline)), pipeline) == expected


@settings(max_examples=300, deadline=None, database=None)
@given(document=strategies.documents(), given_filter=strategies.filters())
def test_a_filter_finds_a_document_without_the_fields_that_it_does_not_need(document, given_filter):
    clause = parse_filter(given_filter)
    whole = normal({"_id": 1, **document})
    (left,) = cut([whole], fields_of_filter(clause))
    assert matcher(clause)(left) is matcher(clause)(whole)


@pytest.mark.parametrize(
    ("pipeline", "fields"),
    [
        ([{"$group": {"_id": "$a.b", "n": {"$sum": 1}, "v": {"$max": {"$add": ["$c", 1, "$d.e"]}}}}], "acd"),
        ([{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}], None),
        ([{"$group": {"_id": {"x": ["$a"]}, "n": {"$push": {"$map": {"input": "$b", "in": "$$this.c"}}}}}], "ab"),
        ([{"$unwind": {"path": "$a.b", "includeArrayIndex": "i"}}, {"$count": "n"}], "ai"),
        ([{"$addFields": {"b.c": "$a"}}, {"$match": {"d": 1}}, {"$count": "n"}, {"$addFields": {"x": "$y"}}], "abd"),
        ([{"$project": {"a": 1, "b": "$c", "_id": 0}}, {"$sort": {"z": 1}}], "abc"),
        ([{"$project": {"a": 0}}, {"$count": "n"}], None),
        ([{"$sort": {"a": 1}}, {"$count": "n"}], None),
        ([{"$addFields": {"a": "$b"}}], None),
        ([], None),
    ],
)
def test_the_fields_are_those_up_to_the_stage_that_makes_new_documents(pipeline, fields):
    clause = parse_filter({})
    assert fields_of_pipeline(clause, parse_pipeline(pipeline)) == (None if fields is None else frozenset(fields))


def test_a_filter_adds_its_fields_and_a_search_for_text_may_look_at_all():
    grouped = parse_pipeline([{"$group": {"_id": "$a"}}])
    assert fields_of_pipeline(parse_filter({"$or": [{"b.c": 1}, {"d": {"$not": {"$gt": 1}}}]}), grouped) == {*"abd"}
    assert fields_of_pipeline(parse_filter({"$text": {"$search": "x"}}), grouped) is None
    assert fields_of_filter(parse_filter({"b.c": {"$elemMatch": {"x": 1}}})) == {"b"}
