"""What groups compute, where it is not plain: the answers are those of MongoDB 6.0."""

from __future__ import annotations

import math

import pytest

from aats_core.query.accumulators import ACCUMULATORS
from aats_core.query.values import MISSING


@pytest.mark.parametrize("values", [[-math.inf], [MISSING, math.nan], [1, math.inf], [math.inf, -math.inf, "x"]])
def test_a_deviation_from_what_is_not_finite_is_not_a_number(values):
    assert math.isnan(ACCUMULATORS["$stdDevPop"](values))


@pytest.mark.parametrize(
    ("operator", "values", "deviation"),
    [
        ("$stdDevPop", [], None),
        ("$stdDevPop", ["x", None, MISSING], None),
        ("$stdDevPop", [3], 0.0),
        ("$stdDevPop", [1, 3, "x"], 1.0),
        ("$stdDevSamp", [math.inf], None),
        ("$stdDevSamp", [1, 3], math.sqrt(2)),
    ],
)
def test_a_deviation_counts_numbers_alone(operator, values, deviation):
    assert ACCUMULATORS[operator](values) == deviation
