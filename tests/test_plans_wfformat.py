"""Traces in WfFormat as plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aats_core.errors import Refused
from aats_core.plans import critical_path, needs_of, parse_plan, read_plan
from aats_core.task import Task

NOW = 1_700_000_000.0
TRACES = sorted((Path(__file__).parents[2] / "shared" / "data" / "workflows").glob("*.json"))


def trace(*tasks, runs=None, **top):
    if runs is None:
        runs = [{"id": task["id"], "runtimeInSeconds": 2.5} for task in tasks]
    workflow = {"specification": {"tasks": tasks}, "execution": {"tasks": runs}}
    return {"name": "t", "schemaVersion": "1.5", "workflow": workflow, **top}


def read(tree, source="trace.json"):
    return parse_plan(json.dumps(tree, indent=0).encode(), source=source, now=NOW)


def problems_of(tree):
    with pytest.raises(Refused) as refused:
        read(tree)
    return [problem.partition(": ")[2] for problem in refused.value.problems]


def entry(id, *, parents=(), children=(), **more):
    return {"name": id, "id": id, "parents": list(parents), "children": list(children), **more}


class TestTasks:
    def test_ids_are_names_and_parents_are_needs(self):
        source = read(trace(entry("a_ID0001", children=["b_ID0002"]), entry("b_ID0002", parents=["a_ID0001"])))

        assert source.plan.name == "t"
        assert source.plan.tasks == (Task("a_ID0001", "a"), Task("b_ID0002", "b", needs=("a_ID0001",)))
        assert source.durations == {"a_ID0001": 2.5, "b_ID0002": 2.5}

    @pytest.mark.parametrize(
        ("name", "program", "kind"),
        [
            ("mProject_ID0000002", None, "mProject"),
            ("cpuhog_chain_00000002", None, "cpuhog_chain"),
            ("cpuhog_chain_00000002", "cpuhog", "cpuhog"),
            ("fast2bfq_fast2bfq_HEP2_MSP1_ID0000026", "fast2bfq", "fast2bfq"),
            ("cat_blast_ID000042", "cat_blast", "cat_blast"),
            ("catalogue_ID1", "cat", "catalogue"),
            ("NFCORE.SAREK.FASTQC", "fastqc --quiet", "NFCORE.SAREK.FASTQC"),
            ("BOWTIE2", "", "BOWTIE2"),
            ("_12", None, "_12"),
        ],
    )
    def test_the_kind_is_the_program_or_the_name_without_its_number(self, name, program, kind):
        runs = [{"id": "x", "command": {"program": program}} if program is not None else {"id": "x"}]

        assert read(trace({"id": "x", "name": name}, runs=runs)).plan.tasks[0].kind == kind

    def test_a_task_without_a_name_has_the_kind_of_its_id(self):
        assert read(trace({"id": "sort_ID7"})).plan.tasks[0].kind == "sort"

    def test_ids_that_are_no_names_are_changed_so_that_they_stay_different(self):
        ids = ["a b", "a/b", "a-b", "a:b", "x" * 200, "x" * 201, "é", "ü"]
        source = read(trace(*(entry(text, parents=["a-b"] if text == "a b" else []) for text in ids)))

        names = [task.name for task in source.plan.tasks]

        assert names == ["a-b-2", "a-b-3", "a-b", "a-b-4", "x" * 128, "x" * 126 + "-2", "task", "task-2"]
        assert source.plan.tasks[0].needs == ("a-b",)
        assert set(source.durations) == set(names)

    def test_tasks_of_the_same_name_are_told_apart_by_their_ids(self):
        plan = read(trace({"id": "a_1", "name": "a"}, {"id": "a_2", "name": "a"})).plan

        assert [(task.name, task.kind) for task in plan.tasks] == [("a_1", "a"), ("a_2", "a")]

    def test_parents_and_children_both_count_and_each_once(self):
        plan = read(trace(entry("a", children=["c", "c"]), entry("b"), entry("c", parents=["b", "b"]))).plan

        assert plan.tasks[2].needs == ("b", "a")

    def test_a_trace_without_a_name_has_that_of_its_file(self):
        tree = trace(entry("a"))
        del tree["name"]

        assert read(tree, "some/run 1.json").plan.name == "run-1"

    def test_inputs_are_not_for_traces(self):
        with pytest.raises(Refused, match="the plan has no such input"):
            parse_plan(json.dumps(trace(entry("a"))).encode(), source="t.json", now=NOW, inputs={"x": 1})


class TestDurations:
    @pytest.mark.parametrize(
        "runs", [[], [{"id": "a"}], [{"id": "a", "runtimeInSeconds": None}], [{"id": "b", "runtimeInSeconds": 1}], [{}]]
    )
    def test_a_task_without_a_run_time_has_none(self, runs):
        assert read(trace(entry("a"), runs=runs)).durations == {}

    @pytest.mark.parametrize("execution", [None, {}, "absent"])
    def test_a_trace_need_not_have_been_run(self, execution):
        tree = trace(entry("a"))
        tree["workflow"]["execution"] = execution
        if execution == "absent":
            del tree["workflow"]["execution"]

        assert read(tree).durations == {}

    @pytest.mark.parametrize("runtime", [-1, "long", float("nan"), float("inf"), [], True])
    def test_a_run_time_that_is_none_is_a_problem(self, runtime):
        (problem,) = problems_of(trace(entry("a"), runs=[{"id": "a", "runtimeInSeconds": runtime}]))

        assert problem.startswith("workflow.execution.tasks[0].runtimeInSeconds: ")


class TestProblems:
    @pytest.mark.parametrize(
        ("tree", "problem"),
        [
            ({"workflow": {}}, "is WfFormat without a version, only 1.5 can be read"),
            ({"schemaVersion": "1.4", "workflow": {}}, "schemaVersion: is WfFormat 1.4, only 1.5 can be read"),
            ({"schemaVersion": 1.5, "workflow": []}, "workflow: must be a mapping of keys to values"),
            ({"schemaVersion": "1.5"}, "the trace has no 'workflow' here"),
            ({"schemaVersion": "1.5", "workflow": 3}, "workflow: must be a mapping of keys to values"),
            ({"schemaVersion": "1.5", "workflow": {}}, "workflow: the trace has no 'specification' here"),
            ({"schemaVersion": "1.5", "workflow": {"specification": {}}}, "tasks: there are no tasks"),
            (trace(), "tasks: there are no tasks"),
        ],
    )
    def test_what_is_no_trace_of_this_version_is_refused(self, tree, problem):
        assert problem in problems_of(tree)

    @pytest.mark.parametrize(
        ("task", "problem"),
        [
            (3, "workflow.specification.tasks[1]: must be a mapping of keys to values"),
            ({}, "workflow.specification.tasks[1]: has no id"),
            ({"id": ""}, "workflow.specification.tasks[1]: has no id"),
            ({"id": 3}, "workflow.specification.tasks[1].id: must be text"),
            ({"id": "a"}, "workflow.specification.tasks[1].id: another task has the id 'a' too"),
            ({"id": "b", "parents": ["c"]}, "workflow.specification.tasks[1].parents[0]: no task has the id 'c'"),
            ({"id": "b", "children": ["c"]}, "workflow.specification.tasks[1].children[0]: no task has the id 'c'"),
            ({"id": "b", "parents": "a"}, "workflow.specification.tasks[1].parents: must be a list of task ids"),
            ({"id": "b", "parents": [1]}, "workflow.specification.tasks[1].parents[0]: must be text"),
            ({"id": "b", "parents": ["b"]}, "workflow.specification.tasks[1].needs[0]: a task cannot need itself"),
        ],
    )
    def test_a_task_that_is_not_right_is_a_problem_at_its_place(self, task, problem):
        (found,) = problems_of(trace(entry("a"), task, runs=[]))

        assert found.startswith(problem)

    def test_a_circle_is_a_problem_in_the_line_of_its_first_task(self):
        tree = trace(entry("a", parents=["b"]), entry("b", parents=["a"]), runs=[])
        with pytest.raises(Refused) as refused:
            read(tree)

        (problem,) = refused.value.problems
        line = json.dumps(tree, indent=0).splitlines().index("{", 5) + 1
        assert problem == (
            f"trace.json:{line}: workflow.specification.tasks[0].needs: "
            "the tasks need each other in a circle: a -> b -> a"
        )


@pytest.mark.skipif(not TRACES, reason="the traces are not here")
@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_public_trace_is_a_plan(path):
    tree = json.loads(path.read_text())

    source = read_plan(path, now=NOW)

    entries = tree["workflow"]["specification"]["tasks"]
    assert [task.name for task in source.plan.tasks] == [entry["id"] for entry in entries]
    assert all(set(task.needs) == set(entry["parents"]) for task, entry in zip(source.plan.tasks, entries, strict=True))
    assert len(source.durations) == len(entries)
    assert critical_path(needs_of(source.plan.tasks), source.durations).seconds > 0
