"""The plan reference says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aats_core.plans import parse_plan
from aats_core.task import PlanState, Retries, Task, TaskState, When

TEXT = (Path(__file__).parents[1] / "docs" / "plans.md").read_text()
EXAMPLES = re.findall(r"^```(yaml|toml)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(("format", "text"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_plan(format, text):
    assert parse_plan(text.encode(), source=f"example.{format}", now=0.0).plan.tasks


@pytest.mark.parametrize(
    "word",
    [
        *(field for field in Task.__struct_fields__ if field != "name"),
        *Retries.__struct_fields__,
        *TaskState,
        *PlanState,
        *When,
        "tasks",
        "inputs",
        "defaults",
    ],
)
def test_every_key_and_state_is_described(word):
    assert f"`{word}`" in TEXT
