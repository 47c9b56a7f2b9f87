"""What needs no server: the stored form and the keys of values."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aats_store_postgres.codec import decode, decode_all, encode
from aats_store_postgres.compile import compile_filter
from aats_store_postgres.identity import id_key
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import StoreError
from aats_core.query import parse_filter
from aats_core.query.values import identical, normal, sort_key
from aats_core.testing import strategies


class TestTheStoredForm:
    @given(strategies.documents())
    def test_documents_come_back_as_they_were(self, document: dict[str, Any]) -> None:
        assert identical(decode(encode(document)), normal(document))

    @given(st.lists(strategies.documents(), max_size=5), st.frozensets(strategies.names()))
    def test_several_come_back_together_whole_or_with_some_of_their_fields(
        self, documents: list[dict[str, Any]], fields: frozenset[str]
    ) -> None:
        texts = [encode(document) for document in documents]
        assert identical(decode_all(texts), normal(documents))
        for document, part in zip(normal(documents), decode_all(texts, fields), strict=True):
            assert fields & document.keys() <= part.keys()
            assert identical(part, {name: document[name] for name in part})

    @given(st.one_of(st.text(), st.floats(allow_nan=True), st.integers(-(2**63), 2**63 - 1), st.binary()))
    def test_scalars_come_back_as_they_were_and_hold_nothing_that_postgresql_cannot(self, value: Any) -> None:
        text = encode({"v": value})
        assert identical(decode(text)["v"], value)
        assert "\\u0000" not in text

    def test_floats_beyond_the_exact_are_written_with_all_of_their_digits(self) -> None:
        assert encode(2.0**60) == "1152921504606846976.0"
        assert decode(encode(1e300)) == 1e300

    def test_what_is_damaged_is_named(self) -> None:
        with pytest.raises(StoreError, match="damaged"):
            decode("{")


_SCALARS = st.one_of(
    strategies.scalars(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, places=3, min_value=-(10**20), max_value=10**20),
    st.text(),
    st.binary(),
)


class TestKeys:
    @given(_SCALARS, _SCALARS)
    def test_they_sort_as_the_values_do(self, left: Any, right: Any) -> None:
        one, other = id_key(left).encode(), id_key(right).encode()
        wanted = (sort_key(normal(left)), sort_key(normal(right)))
        assert (one < other, one == other) == (wanted[0] < wanted[1], wanted[0] == wanted[1])

    @pytest.mark.parametrize(
        ("one", "same"),
        [(1, 1.0), (1, Decimal("1.00")), (0, -0.0), (math.inf, Decimal("Infinity")), (1.5, Decimal("1.5"))],
    )
    def test_equal_numbers_have_one(self, one: Any, same: Any) -> None:
        assert id_key(one) == id_key(same)

    def test_dates_without_a_zone_are_in_utc(self) -> None:
        assert id_key(datetime(2026, 1, 1)) == id_key(datetime(2026, 1, 1, tzinfo=UTC))


class TestTheCompiler:
    @pytest.mark.parametrize(
        ("filter", "exact"),
        [
            ({"a": 1, "b": "x", "c": None, "d": True}, True),
            ({"a": {"$in": [1, "x"]}, "b": {"$nin": ["y"]}}, True),
            ({"a": {"$regex": "^abc"}}, True),
            ({"a": {"$type": "int"}, "b": {"$size": 2}, "c": {"$mod": [2, 1]}}, True),
            ({"a": {"$elemMatch": {"b": 1}}}, False),
            ({"a": {"$elemMatch": {"$gt": 1}}}, True),
            ({"a": {"$regex": "b$"}}, False),
            ({"a": {"b": 1}}, False),
            ({"a.b": 1}, False),
        ],
    )
    def test_it_knows_what_sql_says_exactly(self, filter: Any, *, exact: bool) -> None:
        assert compile_filter(parse_filter(filter)).exact is exact

    @given(strategies.filters())
    def test_every_parameter_is_bound_and_every_value_is_a_parameter(self, filter: Any) -> None:
        condition = compile_filter(parse_filter(filter))
        for number in range(1, len(condition.binders) + 1):
            assert f"${number}::" in condition.sql
        assert f"${len(condition.binders) + 1}::" not in condition.sql
        assert "\2" not in condition.sql
