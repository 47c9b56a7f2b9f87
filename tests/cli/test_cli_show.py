"""What is shown while plans are carried out, and at their end."""

import asyncio
import io
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from aats_core.cli import follow, output
from aats_core.cli.follow import Follower
from aats_core.cli.lines import Lines
from aats_core.cli.live import LiveDisplay
from aats_core.cli.output import print_facts, print_table
from aats_core.cli.screen import Display, Screen
from aats_core.cli.summary import print_summary, summary
from aats_core.errors import TeamUnavailable
from aats_core.operations import PlanDetail, TaskEvent
from aats_core.task import PlanRecord, PlanState, Task, TaskRecord, TaskState, Transition

START = 1_700_000_000.0


def detail(*tasks: TaskRecord, state: PlanState = PlanState.ACTIVE, name: str = "demo") -> PlanDetail:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.state] = counts.get(task.state, 0) + 1
    ended = None if state is PlanState.ACTIVE else START + 75
    return PlanDetail(PlanRecord(f"{name}-1", name, state, submitted=START, ended=ended, counts=counts), list(tasks))


def record(name: str, state: TaskState, *, needs: tuple[str, ...] = (), error: str = "") -> TaskRecord:
    history = [Transition(TaskState.WAITING, START), Transition(state, START + 3, error, 1, "w")]
    if state in (TaskState.DONE, TaskState.FAILED, TaskState.RUNNING):
        history.insert(1, Transition(TaskState.RUNNING, START + 1, "", 1, "w"))
    return TaskRecord(f"demo-1/{name}", "demo-1", Task(name, "k", needs=needs), state, error=error, history=history)


def event(name: str, state: TaskState, *, time: float = START, **more: Any) -> TaskEvent:
    return TaskEvent("demo-1", name, "k", state, time, **more)


class Seen(Display):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def begin(self, plan: PlanDetail) -> None:
        self.shown.append(f"begin {plan.plan.id}")

    def event(self, event: TaskEvent) -> None:
        assert self.hold.wait(20)
        self.shown.append(f"{event.name} {event.state}")

    def note(self, text: str) -> None:
        self.shown.append(f"note {text}")

    def end(self) -> None:
        self.shown.append("end")


class TestLines:
    def test_a_line_is_time_task_state_worker_and_reason(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = Lines()
        lines.begin(detail(record("a", TaskState.READY)))
        lines.event(event("a", TaskState.RUNNING, worker="w", reason="assigned to w"))
        lines.event(event("a", TaskState.RUNNING, worker="w", progress="half\nway \x1b[31m"))
        lines.event(event("a", TaskState.DONE, worker="w", reason="done"))
        lines.event(event("a", TaskState.DONE, worker="w", reason="done", plan_state=PlanState.DONE))
        shown = [line[10:] for line in capsys.readouterr().out.splitlines()]
        assert shown == [
            "demo-1: 1 task",
            "demo-1/a  running    w  assigned to w",
            "demo-1/a  running    w  half way",
            "demo-1/a  done       w",
        ]


class TestLive:
    def picture(self, plan: PlanDetail, *events: TaskEvent, width: int = 80, height: int = 24) -> list[str]:
        """Return the lines of the last picture, and of what was printed above it."""
        console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
        live = LiveDisplay(console)
        live.begin(plan)
        for one in events:
            live.event(one)
        above = console.file.getvalue()  # type: ignore[attr-defined]
        live.end()
        plain = Console(file=io.StringIO(), width=width, height=height)
        plain.print(live._picture(START + 10))
        return above.splitlines() + plain.file.getvalue().splitlines()  # type: ignore[attr-defined]

    def test_it_shows_a_bar_and_what_runs_where_for_how_long_and_what_it_says(self) -> None:
        shown = self.picture(
            detail(record("a", TaskState.DONE), record("b", TaskState.READY), record("c", TaskState.WAITING)),
            event("b", TaskState.RUNNING, time=START + 4, worker="builder", attempt=1),
            event("b", TaskState.RUNNING, time=START + 4, worker="builder", attempt=1, progress="3 of 9"),
        )
        assert [" ".join(line.replace("━", "").replace("╺", "").replace("╸", "").split()) for line in shown[-2:]] == [
            "demo 1/3 10.0 s",
            "b builder 6.00 s 3 of 9",
        ]

    def test_failures_and_repetitions_are_printed_above_it(self) -> None:
        shown = self.picture(
            detail(record("a", TaskState.RUNNING), record("b", TaskState.RUNNING)),
            event("a", TaskState.WAITING, attempt=1, reason="attempt 1 failed: no luck"),
            event("a", TaskState.FAILED, attempt=2, reason="no luck at all"),
        )
        assert any(line.endswith("↻ a  attempt 1 failed: no luck") for line in shown)
        assert any(line.endswith("✗ a  no luck at all") for line in shown)
        assert "1 failed" in shown[-2]

    @pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 4), (200, 50)])
    def test_it_fits_any_terminal(self, width: int, height: int) -> None:
        tasks = [record(f"a-task-with-a-name-that-is-rather-long-{n}", TaskState.RUNNING) for n in range(60)]
        says = [event(t.task.name, TaskState.RUNNING, worker="w" * 30, progress="so much to say " * 9) for t in tasks]
        console = Console(file=io.StringIO(), width=width, height=height)
        live = LiveDisplay(console)
        live.begin(detail(*tasks))
        for one in says:
            live.event(one)
        live.end()
        console.file.truncate(0)
        console.print(live._picture(START + 10))
        lines = console.file.getvalue().lstrip("\0").splitlines()  # type: ignore[attr-defined]
        assert len(lines) <= max(height, 4)
        assert max(map(len, lines)) <= width
        assert lines[-1].strip().startswith("… and ")

    def test_what_a_task_says_does_nothing_to_the_terminal(self) -> None:
        shown = self.picture(
            detail(record("a", TaskState.RUNNING)),
            event("a", TaskState.RUNNING, progress="[red]markup[/red] \x1b]0;title\x07\x1b[2J"),
        )
        assert "[red]markup[/red]" in shown[-1]
        assert "\x1b" not in shown[-1]

    def test_events_of_other_plans_are_not_in_it(self) -> None:
        shown = self.picture(detail(record("a", TaskState.READY)), TaskEvent("x", "y", "k", TaskState.FAILED, START))
        assert not any("y" in line.split() for line in shown)


class TestSummary:
    def shown(self, *details: PlanDetail, **console: Any) -> str:
        out = io.StringIO()
        real, sys.stdout = sys.stdout, out
        try:
            print_summary(Console(file=out, **console), details)
        finally:
            sys.stdout = real
        return out.getvalue()

    FAILED = detail(
        record("a", TaskState.DONE),
        record("b", TaskState.FAILED, error="exit code 3:\nno such file " + "x" * 600),
        record("c", TaskState.SKIPPED, needs=("b",)),
        record("d", TaskState.SKIPPED, needs=("c",)),
        record("e", TaskState.SKIPPED, needs=("a",)),
        state=PlanState.FAILED,
    )

    def test_it_tells_the_outcome_why_and_what_did_not_run(self) -> None:
        lines = self.shown(self.FAILED).splitlines()
        assert lines[0] == "✗ demo-1 failed after 1 m 15 s: 1 done, 1 failed, 3 skipped of 5 tasks"
        assert lines[1].startswith("  ✗ b failed: exit code 3: no such file xxx")
        assert lines[1].endswith("x…")
        assert lines[2:] == ["    not run because of it: c, d", "  not run: e"]

    def test_on_a_terminal_it_wraps(self) -> None:
        shown = self.shown(self.FAILED, force_terminal=True, width=40, color_system=None)
        assert max(map(len, shown.splitlines())) <= 40

    def test_an_interrupted_plan_is_told_as_such(self) -> None:
        shown = self.shown(detail(record("a", TaskState.DONE), record("b", TaskState.READY)))
        assert "… demo-1 interrupted after" in shown
        assert "1 ready, 1 done of 2 tasks\n  the same command goes on where it was\n" in shown

    def test_as_data_it_holds_the_same(self) -> None:
        data = summary([self.FAILED], 1)
        assert data["exit_code"] == 1
        assert data["plans"][0]["failed"][0]["not_run"] == ["c", "d"]
        assert [task["task"] for task in data["plans"][0]["not_run"]] == ["c", "d", "e"]


class TestTable:
    def test_piped_it_is_complete_and_aligned(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table(("ID", "EMPTY", "WHY"), [("a", "", "x" * 100), ("long-id", None, "two\nlines \x1b[1m")])
        assert capsys.readouterr().out.splitlines() == [
            "ID       EMPTY  WHY",
            f"a        -      {'x' * 100}",
            "long-id  -      two lines",
        ]

    def test_on_a_terminal_a_column_that_holds_nothing_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=50, color_system=None)
        monkeypatch.setattr(output, "console", lambda: console)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        print_table(("ID", "EMPTY", "WHY"), [("a", "", "x"), ("b", None, "y")])
        assert [line.split() for line in out.getvalue().splitlines()] == [["ID", "WHY"], ["a", "x"], ["b", "y"]]

    def test_without_rows_its_heads_are_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table(("ID", "WHY"), [])
        assert capsys.readouterr().out == "ID  WHY\n"

    def test_on_a_terminal_it_is_cut_but_not_what_people_copy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=50, color_system=None)
        monkeypatch.setattr(output, "console", lambda: console)
        output._print_rich(("ID", "STATE", "WHY"), [["release-12345678/build", "failed", "because " * 20]], wrap=False)
        line = out.getvalue().splitlines()[1]
        assert line.startswith("release-12345678/build  failed  because")
        assert line.rstrip().endswith("…")
        assert len(line) <= 50

    @pytest.mark.parametrize(
        ("natural", "room", "fitted"),
        [
            ([10, 5, 5], 80, [10, 5, 5]),
            ([30, 7, 60], 60, [30, 7, 23]),
            ([30, 50, 60], 70, [30, 20, 20]),
            ([90, 50, 60], 70, [58, 6, 6]),
            ([90], 70, [70]),
            ([30, 30], 5, [6, 6]),
        ],
    )
    def test_the_widest_columns_give_way_and_the_first_last_of_all(
        self, natural: list[int], room: int, fitted: list[int]
    ) -> None:
        assert output.fit_widths(natural, room) == fitted

    def test_facts_show_structures_and_lines_below_each_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_facts([("Name", "x"), ("Payload", {"a": 1}), ("Error", "one\ntwo")])
        assert capsys.readouterr().out.splitlines() == [
            "Name     x",
            "Payload  {",
            '           "a": 1',
            "         }",
            "Error    one",
            "         two",
            "",
        ]


class TestScreen:
    def test_everything_is_shown_in_order_before_it_is_left(self) -> None:
        seen = Seen()
        with Screen(seen) as screen:
            screen.begin(detail())
            for number in range(100):
                screen.event(event(f"t{number}", TaskState.DONE))
            screen.note("bye")
        assert seen.shown == ["begin demo-1", *[f"t{n} done" for n in range(100)], "note bye", "end"]

    def test_a_display_that_stalls_holds_nobody_up_and_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aats_core.cli.screen.WAITING_LIMIT", 20)
        seen = Seen()
        seen.hold.clear()
        with Screen(seen) as screen:
            for number in range(1000):
                screen.event(event(f"t{number}", TaskState.DONE))
            assert screen._queue.qsize() <= 20
            screen.note("still heard")
            seen.hold.set()
        assert seen.shown[-2:] == ["note still heard", "end"]

    def test_a_display_that_fails_is_logged_and_the_rest_is_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        class Fails(Seen):
            def begin(self, plan: PlanDetail) -> None:
                raise ZeroDivisionError

        seen = Fails()
        with Screen(seen) as screen:
            screen.begin(detail())
            screen.note("on")
        assert seen.shown == ["note on", "end"]
        assert "something could not be shown" in caplog.text

    def test_where_nobody_reads_it_goes_on_in_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            monkeypatch.setattr(sys, "stdout", out)
            with Screen(Lines()) as screen:
                for number in range(10):
                    screen.event(event(f"t{number}", TaskState.DONE))
            print("into nothing", flush=True)


class FakeTeam:
    """A team whose events a test makes."""

    def __init__(self, *plans: PlanDetail) -> None:
        self.details = {plan.plan.id: plan for plan in plans}
        self.events: asyncio.Queue[TaskEvent] = asyncio.Queue()

    async def plan(self, id: str) -> PlanDetail:
        return self.details[id]

    async def plans(self, state: PlanState, limit: int) -> list[PlanRecord]:
        return [plan.plan for plan in self.details.values() if plan.plan.state is state]

    async def watch(self) -> AsyncIterator[TaskEvent]:
        while True:
            yield await self.events.get()


class TestFollow:
    @contextmanager
    def screen(self) -> Any:
        self.seen = Seen()
        with Screen(self.seen) as screen:
            yield screen

    def follow(self, team: Any, *records: PlanRecord, give_up: bool = False) -> list[PlanDetail]:
        async def scenario(screen: Screen) -> list[PlanDetail]:
            async with asyncio.timeout(20), asyncio.TaskGroup() as beside:
                follower = Follower(team, screen)
                watching = beside.create_task(follower.watch())
                while not team.events.empty():
                    await asyncio.sleep(0)
                if give_up:
                    follower.give_up()
                details = await follower.follow(records)
                watching.cancel()
                return [follower.latest(detail) for detail in details]

        with self.screen() as screen:
            return asyncio.run(scenario(screen))

    def test_it_ends_when_the_last_plan_has(self) -> None:
        plan = detail(record("a", TaskState.READY))
        team = FakeTeam(plan)
        team.events.put_nowait(event("a", TaskState.RUNNING))
        team.events.put_nowait(event("a", TaskState.DONE, plan_state=PlanState.DONE))
        [found] = self.follow(team, plan.plan)
        assert self.seen.shown == ["begin demo-1", "a running", "a done", "end"]
        assert found.plan.counts == {"done": 1}

    def test_what_happened_before_it_was_known_which_plans_are_meant_is_shown_after_they_begin(self) -> None:
        plan = detail(record("a", TaskState.READY), state=PlanState.DONE)
        team = FakeTeam(plan)
        team.events.put_nowait(event("a", TaskState.DONE))
        team.events.put_nowait(TaskEvent("other", "b", "k", TaskState.DONE, START))
        self.follow(team, plan.plan)
        assert self.seen.shown == ["begin demo-1", "a done", "end"]

    def test_an_end_that_was_missed_is_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follow, "RESYNC", 0.01)
        active = detail(record("a", TaskState.READY))
        team = FakeTeam(detail(record("a", TaskState.DONE), state=PlanState.DONE))
        [found] = self.follow(team, active.plan)
        assert found.plan.state is PlanState.DONE

    def test_it_can_be_given_up(self) -> None:
        plan = detail(record("a", TaskState.READY))
        [found] = self.follow(FakeTeam(plan), plan.plan, give_up=True)
        assert found.plan.state is PlanState.ACTIVE

    def test_a_team_that_goes_away_is_an_error(self) -> None:
        class Gone(FakeTeam):
            async def watch(self) -> AsyncIterator[TaskEvent]:
                raise TeamUnavailable("gone")
                yield

        plan = detail(record("a", TaskState.READY))
        with pytest.raises(ExceptionGroup) as caught:
            self.follow(Gone(plan), plan.plan)
        assert caught.group_contains(TeamUnavailable, match="gone")
