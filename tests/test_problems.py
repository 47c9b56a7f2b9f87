"""What is said of wrong values, whatever the words of the library that finds them."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from aats_core.problems import explain


class Inner(BaseModel):
    limit: int = 0


class Model(BaseModel):
    """A section with fields of every shape that plugins use."""

    text: Annotated[str, Field(min_length=1, max_length=3)] = "x"
    whole: Annotated[int, Field(ge=1)] = 1
    number: float = 0.0
    flag: bool = False
    servers: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("x",)
    names: list[str] = []
    kinds: set[str] = set()
    amounts: dict[str, float] = {}
    inner: Inner = Inner()
    choice: Literal["one", "two"] = "one"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("text", 1, "it must be text"),
        ("text", "", "it must have 1 or more characters"),
        ("text", "long", "it must have 3 or fewer characters"),
        ("whole", "many", "it must be a whole number"),
        ("whole", 1.5, "it must be a whole number"),
        ("whole", 0, "it must be greater than or equal to 1"),
        ("number", "many", "it must be a number"),
        ("flag", "perhaps", "it must be true or false"),
        ("servers", [], "it must hold 1 or more, and holds 0"),
        ("servers", ["a", "b", "c"], "it must hold 2 or fewer"),
        ("servers", 1, "it must be a list"),
        ("names", "one", "it must be a list"),
        ("kinds", "one", "it must be a list"),
        ("amounts", [], "it must be a table"),
        ("inner", 1, "it must be a table"),
        ("choice", "three", "it must be 'one' or 'two'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_in_plain_words(field: str, value: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({field: value})
    [problem] = explain("section", caught.value, Model, {})
    assert str(problem) == f"[section] {field}: {text}"
