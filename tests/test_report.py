from __future__ import annotations

import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aats_core.operations import PlanDetail
from aats_core.report import outcome, render, summarise, write_report
from aats_core.task import PlanState, TaskRecord, TaskState
from tests.report_plans import START, Page, only, plan, ran, ready, report, skipped, task, twice_failed


class TestFacts:
    def test_a_plan_without_tasks_has_a_report(self) -> None:
        found = report()

        assert found.elapsed == 10
        assert found.critical_path == ()
        assert found.tasks == ()

    def test_times_are_told_apart_by_what_the_task_waited_for(self) -> None:
        found = only(report(ran("a", 2, 5, 9)))

        assert (found.held, found.waited, found.seconds) == (2, 3, 4)

    def test_every_attempt_is_told_with_its_worker_its_time_and_how_it_ended(self) -> None:
        first, second = only(report(twice_failed("a"))).attempts

        assert (first.number, first.worker, first.started, first.ended) == (1, "build@a", START + 1, START + 3)
        assert (first.state, first.reason) == (TaskState.FAILED, "attempt 1 failed: code 1: first try")
        assert (second.number, second.worker, second.seconds) == (2, "build@b", 1.5)
        assert second.state is TaskState.FAILED

    def test_a_history_without_workers_takes_the_latest_from_the_record(self) -> None:
        record = ran("a", 0, 1, 2, worker="")
        record.worker = "build@z"

        assert only(report(record)).attempts[0].worker == "build@z"

    def test_an_attempt_that_goes_on_ends_now(self) -> None:
        running = task("a", (TaskState.READY, 0, "", 0, ""), (TaskState.RUNNING, 4, "", 1, "w"))

        found = report(running, state=PlanState.ACTIVE, ended=None, now=9)

        assert only(found).attempts[0].state is TaskState.RUNNING
        assert only(found).seconds == 5
        assert found.elapsed == 9

    def test_a_clock_that_went_backwards_makes_no_negative_time(self) -> None:
        found = only(report(ran("a", 5, 4, 3)))

        assert (found.waited, found.seconds) == (0, 0)

    def test_the_critical_path_is_the_chain_that_takes_longest_with_its_repetitions(self) -> None:
        found = report(
            ran("a", 0, 0, 2),
            ran("quick", 2, 2, 3, "a"),
            ran("slow", 2, 2, 8, "a"),
            ran("end", 8, 8, 9, "quick", "slow"),
        )

        assert found.critical_path == ("a", "slow", "end")
        assert found.critical_seconds == 9
        assert [task.critical for task in found.tasks] == [True, False, True, True]

    def test_what_did_not_run_names_the_tasks_that_are_to_blame(self) -> None:
        found = report(
            twice_failed("tests"),
            ran("lint", 0, 0, 1),
            skipped("build", 6, "tests", "lint"),
            skipped("publish", 6, "build"),
            state=PlanState.FAILED,
        )

        assert [task.name for task in found.failures] == ["tests"]
        assert [(task.name, task.causes) for task in found.not_run] == [("build", ("tests",)), ("publish", ("tests",))]
        assert found.not_run[0].reason == "tests did not succeed"

    def test_what_waits_says_for_what(self) -> None:
        found = report(
            ready("first"),
            task("second", (TaskState.WAITING, 0, "submitted", 0, ""), needs=("first",)),
            task("third", (TaskState.WAITING, 0, "submitted", 0, "")),
            state=PlanState.ACTIVE,
            ended=None,
        )

        assert [task.reason for task in found.tasks] == ["waits for a worker", "waits for first", "waits for its time"]

    def test_a_long_list_of_needs_is_cut(self) -> None:
        names = tuple(f"n{index}" for index in range(8))
        found = report(
            *map(ready, names),
            task("last", (TaskState.WAITING, 0, "", 0, ""), needs=names),
            state=PlanState.ACTIVE,
            ended=None,
        )

        assert found.tasks[-1].reason == "waits for n0, n1, n2, n3, n4 and 3 more"

    def test_a_report_is_data_too(self) -> None:
        data = msgspec.json.encode(report(twice_failed("a"), ran("b", 0, 1, 2)))

        assert msgspec.json.decode(data)["tasks"][0]["attempts"][1]["worker"] == "build@b"


@st.composite
def any_plan(draw: st.DrawFn) -> PlanDetail:
    """A plan whose tasks need any others, and went through any states at any times."""
    names = draw(st.lists(st.text("ab", min_size=1, max_size=3), unique=True, max_size=6))
    step = st.tuples(
        st.sampled_from(TaskState),
        st.floats(-5, 50),
        st.just("why"),
        st.integers(0, 3),
        st.sampled_from(["", "v", "w"]),
    )
    tasks = [
        task(name, *draw(st.lists(step, max_size=6)), needs=tuple(draw(st.lists(st.sampled_from([*names, "other"])))))
        for name in names
    ]
    return plan(*tasks, state=draw(st.sampled_from(PlanState)), ended=draw(st.none() | st.floats(0, 60)))


class TestAnyPlan:
    @settings(deadline=None)
    @given(any_plan())
    def test_whatever_the_store_holds_is_reported(self, detail: PlanDetail) -> None:
        found = summarise(detail, now=START + 100)

        assert Page(render(found)).all("tr")
        assert found.started <= found.ended
        assert all(attempt.seconds >= 0 for task in found.tasks for attempt in task.attempts)
        assert found.critical_seconds <= found.work + 1e-6


class TestOutcome:
    @pytest.mark.parametrize(
        ("tasks", "state", "ended", "words"),
        [
            ([ran("a", 0, 0, 2)], PlanState.DONE, 10, "Done in 10.0 s: 1 task of 1 carried out."),
            (
                [twice_failed("a"), skipped("b", 6, "a")],
                PlanState.FAILED,
                10,
                "Failed after 10.0 s: 1 task failed, 1 did",
            ),
            ([ran("a", 0, 0, 2), ready("b")], PlanState.ACTIVE, None, "Active for 20.0 s: 1 task of 2 to go."),
            ([ready("a")], PlanState.CANCELLED, 10, "Cancelled after 10.0 s: 0 tasks failed, 1 did not run."),
        ],
    )
    def test_says_how_the_plan_ended_or_stands(
        self, tasks: list[TaskRecord], state: PlanState, ended: float | None, words: str
    ) -> None:
        assert outcome(report(*tasks, state=state, ended=ended)).startswith(words)


class TestPage:
    def test_needs_nothing_from_elsewhere(self) -> None:
        page = Page(render(report(twice_failed("a"), ran("b", 0, 1, 2))))

        links = [value for _, found in page.elements for key, value in found.items() if key in ("href", "src")]
        assert links
        assert all(link and link.startswith("#") for link in links)
        assert not page.all("link")

    def test_every_link_leads_to_a_row(self) -> None:
        page = Page(render(report(twice_failed("a"), ran("b", 0, 1, 2), skipped("c", 6, "a"))))

        anchors = {f"#{found['id']}" for _, found in page.elements if "id" in found}
        assert {found["href"] for found in page.all("a")} <= anchors

    def test_shows_each_attempt_as_a_bar_of_its_state(self) -> None:
        page = Page(render(report(twice_failed("a"), ran("b", 0, 1, 2))))

        bars = [found["class"] for found in page.of_class("bar")]
        assert sorted(str(bar).split()[1] for bar in bars) == ["s-done", "s-failed", "s-failed"]
        assert len(page.of_class("hatch")) == 2

    def test_highlights_the_critical_path(self) -> None:
        page = Page(render(report(ran("a", 0, 0, 5), ran("b", 5, 5, 6, "a"), ran("c", 0, 0, 1))))

        critical = [found for found in page.of_class("node") if "critical" in str(found["class"])]
        assert len(critical) == 2
        assert "critical path: a → b" in page.words

    def test_shows_the_whole_message_of_a_failure_its_output_and_what_went_before(self) -> None:
        page = Page(render(report(twice_failed("a"), state=PlanState.FAILED)))

        assert "code 1\nthe last line" in page.words
        assert "some output" in page.words
        assert "attempt 1 on build@a: code 1: first try" in page.words

    def test_keeps_the_end_of_an_endless_output(self) -> None:
        record = twice_failed("a")
        record.output = "x" * 50_000 + "the end"

        page = render(report(record, state=PlanState.FAILED))

        assert "the end" in page
        assert len(page) < 60_000

    def test_says_what_did_not_run_and_why(self) -> None:
        page = Page(render(report(twice_failed("a"), skipped("b", 6, "a"), state=PlanState.FAILED)))

        assert "Did not run" in page.words
        assert "a did not succeed" in page.words

    def test_a_plan_that_has_not_begun_has_a_page(self) -> None:
        page = Page(render(report(task("a"), state=PlanState.ACTIVE, ended=None)))

        assert "Not begun yet" in page.words
        assert "nothing has run" in page.words

    @pytest.mark.parametrize(("deadline", "word"), [(30, "to spare"), (5, "late")])
    def test_tells_whether_the_deadline_was_met(self, deadline: float, word: str) -> None:
        assert word in Page(render(report(ran("a", 0, 0, 9), deadline=START + deadline))).words

    def test_shows_inputs_cut_to_a_line(self) -> None:
        page = Page(render(report(ran("a", 0, 0, 9), inputs={"source": "/src", "big": ["x" * 1000]})))

        assert "/src" in page.words
        assert "x" * 300 not in page.words

    @settings(deadline=None, max_examples=60)
    @given(st.text(min_size=1, max_size=40), st.text(max_size=60))
    @example("<script>alert(1)</script>", "</pre></details><img src=x onerror=alert(1)>")
    @example('"><a href="javascript:alert(1)">', "\x00\x1b[2J\x1b]8;;http://x\x07\u202e\ud800")
    def test_no_name_and_no_output_becomes_markup(self, name: str, output: str) -> None:
        failed = twice_failed(name)
        failed.error = failed.output = output
        harmless = Page(render(report(twice_failed("a"), skipped("b", 6, "a"), state=PlanState.FAILED, name="n")))

        page = Page(render(report(failed, skipped(name + "b", 6, name), state=PlanState.FAILED, name=name)))

        shapes = [
            element for element, _ in page.elements if element not in ("dl", "div", "dt", "dd", "pre", "text", "title")
        ]
        expected = [
            element
            for element, _ in harmless.elements
            if element not in ("dl", "div", "dt", "dd", "pre", "text", "title")
        ]
        assert shapes == expected
        assert not any(c in page.words for c in string.printable if ord(c) < 32 and c not in "\n\t")

    def test_lets_only_its_own_script_and_style_run(self) -> None:
        page = Page(render(report(ran("a", 0, 0, 9))))

        [policy] = [found["content"] for found in page.all("meta") if "http-equiv" in found]
        assert policy is not None
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert not any("style" in found or "onclick" in found for _, found in page.elements)

    def test_five_thousand_tasks_are_one_page(self) -> None:
        tasks = [
            ran(f"t{i}", 0, i % 50, i % 50 + 1, *([f"t{i - 50}"] if i >= 50 else []), worker=f"w{i % 7}")
            for i in range(5000)
        ]

        page = Page(render(report(*tasks, ended=60)))

        assert len(page.of_class("node")) == 5000
        assert len(page.of_class("bar")) == 5000
        assert len(page.all("tr")) == 5001
        assert not page.of_class("box")

    def test_a_chain_of_a_thousand_tasks_is_drawn(self) -> None:
        tasks = [ran(f"t{i}", 0, i, i + 1, *([f"t{i - 1}"] if i else [])) for i in range(1000)]

        page = Page(render(report(*tasks, ended=1000)))

        assert "critical path: 1,000 tasks" in page.words


class TestFile:
    def test_makes_the_folder_and_replaces_what_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "report.html"
        write_report(plan(ran("a", 0, 0, 9)), path)
        write_report(plan(ran("a", 0, 0, 9), name="second"), path)

        assert "second" in path.read_text("utf-8")
        assert [file.name for file in path.parent.iterdir()] == ["report.html"]
        assert path.stat().st_mode & 0o777 == 0o644

    def test_a_failed_write_leaves_what_was_there(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.mkdir()

        with pytest.raises(OSError, match="report"):
            write_report(plan(ran("a", 0, 0, 9)), path)

        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
