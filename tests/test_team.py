"""A whole team on the embedded parts: plans carried out, failures, decisions of people, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aats_core.errors import InvalidRequest, NotFound, Refused, StateLocked
from aats_core.operations import PlanDetail
from aats_core.policy import acting_for
from aats_core.store import RecordStore
from aats_core.task import Plan, PlanState, Retries, Task, TaskState, When
from aats_core.team import Team
from aats_core.team_file import load_team_file

pytestmark = pytest.mark.usefixtures("probe")

TEAM = """
[team]
grace = 5.0
lease = 3.0
[agents.probe]
replicas = 4
resources = { licence = 1 }
"""


class Site:
    """Runs a team in a directory of its own, once or several times."""

    def __init__(self, path: Path, text: str = TEAM) -> None:
        self.path = path / "team.toml"
        self.path.write_text(text)

    def run(self, body: Callable[[Team], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with Team(load_team_file(self.path, environ={})) as team, asyncio.timeout(30):
                return await body(team)

        return asyncio.run(main())


@pytest.fixture
def place(tmp_path: Path) -> Site:
    return Site(tmp_path)


def echo(name: str, *needs: str, **more: Any) -> Task:
    return Task(name, "probe.echo", {"name": name}, needs=needs, **more)


async def carry_out(team: Team, *tasks: Task, **more: Any) -> PlanDetail:
    record = await team.operations.submit(Plan("p", tasks, **more))
    return await finished(team, record.id)


async def finished(team: Team, id: str) -> PlanDetail:
    while True:
        detail = await team.operations.plan(id)
        if detail.plan.state is not PlanState.ACTIVE:
            return detail
        await asyncio.sleep(0.005)


def states(detail: PlanDetail) -> dict[str, str]:
    return {record.task.name: record.state.value for record in detail.tasks}


def records(team: Team) -> RecordStore:
    found = team._primary()
    assert found is not None
    return found


def test_a_plan_is_carried_out_in_the_order_of_its_needs(place: Site) -> None:
    detail = place.run(lambda team: carry_out(team, echo("c", "b"), echo("b", "a"), echo("a")))
    assert detail.plan.state is PlanState.DONE
    assert detail.plan.counts == {"done": 3}
    ended = {record.task.name: (record.started, record.ended) for record in detail.tasks}
    assert ended["a"][1] <= ended["b"][0]
    assert ended["b"][1] <= ended["c"][0]
    assert [record.task.name for record in detail.tasks] == ["c", "b", "a"]


def test_every_transition_is_stored_with_time_and_reason(place: Site) -> None:
    detail = place.run(lambda team: carry_out(team, echo("a"), echo("b", "a")))
    history = detail.tasks[1].history
    assert [step.state.value for step in history] == ["ready", "running", "done"]
    assert [step.time for step in history] == sorted(step.time for step in history)
    assert history[1].reason == "assigned to probe"


def test_a_template_takes_the_output_of_a_need_and_the_inputs(place: Site) -> None:
    async def body(team: Team) -> PlanDetail:
        taking = Task("b", "probe.echo", {"from": "{{ tasks.a.output.name }}", "in": "{{ inputs.x }}"}, needs=("a",))
        return await carry_out(team, echo("a"), taking, inputs={"x": [1, 2]})

    assert place.run(body).tasks[1].output == {"from": "a", "in": [1, 2]}


def test_an_output_that_a_template_misses_fails_the_task_and_says_which(place: Site) -> None:
    async def body(team: Team) -> PlanDetail:
        taking = Task("b", "probe.echo", {"from": "{{ tasks.a.output.wheel }}"}, needs=("a",), retries=Retries(5))
        return await carry_out(team, echo("a"), taking)

    detail = place.run(body)
    assert states(detail) == {"a": "done", "b": "failed"}
    assert "tasks.a.output.wheel" in detail.tasks[1].error


def test_failures_are_retried_and_every_attempt_is_in_the_history(place: Site) -> None:
    flaky = Task("f", "probe.flaky", 2, retries=Retries(limit=3, backoff=0.01))
    record = place.run(lambda team: carry_out(team, flaky)).tasks[0]
    assert (record.state, record.output, record.attempt, record.failures) == (TaskState.DONE, 3, 3, 2)
    assert [step.state.value for step in record.history].count("running") == 3
    assert "attempt 1 failed: ValueError: attempt 1 of f" in [step.reason for step in record.history]


def test_a_task_fails_after_its_last_attempt_and_what_needs_it_is_skipped(place: Site) -> None:
    async def body(team: Team) -> PlanDetail:
        flaky = Task("f", "probe.flaky", 9, retries=Retries(limit=1, backoff=0.01))
        alarm = echo("alarm", "f", when=When.FAILED)
        return await carry_out(team, flaky, echo("after", "f"), alarm, echo("report", "after", when=When.ENDED))

    detail = place.run(body)
    assert states(detail) == {"f": "failed", "after": "skipped", "alarm": "done", "report": "done"}
    assert detail.plan.state is PlanState.FAILED
    assert detail.tasks[0].error == "ValueError: attempt 2 of f"


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        ("probe.refuse", {}, "no use in trying again"),
        ("probe.lie", {}, "returned something that its annotation does not allow"),
        ("probe.sleep", "long", "Expected `float`, got `str`"),
    ],
)
def test_what_a_retry_cannot_mend_is_not_retried(place: Site, kind: str, payload: Any, error: str) -> None:
    task = Task("t", kind, payload, retries=Retries(limit=5, backoff=0.01))
    record = place.run(lambda team: carry_out(team, task)).tasks[0]
    assert record.state is TaskState.FAILED
    assert record.attempt == 1
    assert error in record.error


def test_a_handler_that_exits_fails_its_attempt_only(place: Site) -> None:
    detail = place.run(lambda team: carry_out(team, Task("x", "probe.exit"), echo("a"), echo("b", "a")))
    assert states(detail) == {"x": "failed", "a": "done", "b": "done"}


def test_a_hanging_task_ends_with_its_timeout(place: Site) -> None:
    record = place.run(lambda team: carry_out(team, Task("s", "probe.sleep", 60.0, timeout=0.05))).tasks[0]
    assert record.state is TaskState.FAILED
    assert record.error == "no end after its timeout of 0.05 s"


def test_resources_bound_how_many_run_at_once(place: Site) -> None:
    tasks = [Task(f"t{n}", "probe.sleep", 0.05, resources={"licence": 1}) for n in range(3)]
    detail = place.run(lambda team: carry_out(team, *tasks))
    spans = sorted((record.started, record.ended) for record in detail.tasks)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_plan_with_problems_is_refused_with_all_of_them_and_nothing_is_stored(place: Site) -> None:
    async def body(team: Team) -> int:
        with pytest.raises(Refused) as refusal:
            await team.operations.submit(
                Plan("p", (echo("a", "b"), echo("b", "a"), Task("c", "no.such", needs=("z",))))
            )
        text = str(refusal.value)
        assert len(refusal.value.problems) == 3
        assert "circle" in text
        assert "no.such" in text
        assert "'z'" in text
        return len(await team.operations.plans())

    assert place.run(body) == 0


def test_a_large_payload_goes_through(place: Site) -> None:
    async def body(team: Team) -> int:
        detail = await carry_out(team, Task("big", "probe.echo", {"text": "x" * (15 << 20)}))
        return len(detail.tasks[0].output["text"])

    assert place.run(body) == 15 << 20


def test_a_waiting_task_says_why(place: Site) -> None:
    async def body(team: Team) -> list[str]:
        tasks = [Task("long", "probe.sleep", 0.3, resources={"licence": 1}), echo("after", "long")]
        short = Task("short", "probe.sleep", 0.0, resources={"licence": 1}, priority=9)
        record = await team.operations.submit(Plan("p", (*tasks, short)))
        await asyncio.sleep(0.1)
        waits = [(await team.operations.task(f"{record.id}/{name}")).waits for name in ("after", "short", "long")]
        await finished(team, record.id)
        return waits

    after, short, running = place.run(body)
    assert "long" in after
    assert "licence" in short
    assert running == ""


def test_cancelling_a_plan_stops_what_runs_and_what_waits(place: Site) -> None:
    async def body(team: Team) -> PlanDetail:
        record = await team.operations.submit(Plan("p", (Task("s", "probe.sleep", 60.0), echo("after", "s"))))
        while (await team.operations.task(f"{record.id}/s")).record.progress != "asleep":
            await asyncio.sleep(0.005)
        assert await team.operations.cancel(record.id, "enough") == [f"{record.id}/s", f"{record.id}/after"]
        return await finished(team, record.id)

    detail = place.run(body)
    assert states(detail) == {"s": "cancelled", "after": "cancelled"}
    assert detail.plan.state is PlanState.CANCELLED
    assert detail.tasks[0].error == "enough"


def test_a_cancellation_outlives_a_worker_that_never_answers_it(place: Site) -> None:
    async def begin(team: Team) -> str:
        record = await team.operations.submit(Plan("p", (Task("deaf", "probe.deaf", 0.8),)))
        while (await team.operations.task(f"{record.id}/deaf")).record.state is not TaskState.RUNNING:
            await asyncio.sleep(0.005)
        await team.operations.cancel(record.id, "enough")
        team.request_stop(now=True)
        return record.id

    plan = place.run(begin)
    detail = place.run(lambda team: finished(team, plan))
    assert states(detail) == {"deaf": "cancelled"}
    assert detail.tasks[0].attempt == 1


def test_what_failed_can_be_retried_with_what_was_skipped_for_it(place: Site, tmp_path: Path) -> None:
    async def body(team: Team) -> PlanDetail:
        fail_once = Task("f", "probe.flaky", 1)
        first = await carry_out(team, fail_once, echo("after", "f"), echo("other"))
        assert states(first) == {"f": "failed", "after": "skipped", "other": "done"}
        assert await team.operations.retry(first.plan.id) == [f"{first.plan.id}/f", f"{first.plan.id}/after"]
        return await finished(team, first.plan.id)

    assert states(place.run(body)) == {"f": "done", "after": "done", "other": "done"}


def test_an_effect_that_may_have_happened_leaves_the_task_unknown_until_somebody_settles_it(
    place: Site, tmp_path: Path
) -> None:
    async def body(team: Team) -> PlanDetail:
        payload = {"path": str(tmp_path / "effects"), "mode": "blind"}
        effect = Task("e", "probe.effect", payload, retries=Retries(limit=3, backoff=0.01))
        first = await carry_out(team, effect, echo("after", "e"))
        assert states(first) == {"e": "unknown", "after": "skipped"}
        assert first.plan.state is PlanState.FAILED
        settled = await team.operations.settle(f"{first.plan.id}/e", done=True, output="seen")
        assert settled.state is TaskState.DONE
        return await finished(team, first.plan.id)

    detail = place.run(body)
    assert states(detail) == {"e": "done", "after": "done"}
    assert (tmp_path / "effects").read_text() == "1\n"


def test_an_idempotent_effect_is_done_again(place: Site, tmp_path: Path) -> None:
    payload = {"path": str(tmp_path / "effects"), "mode": "idempotent"}
    effect = Task("e", "probe.effect", payload, retries=Retries(limit=3, backoff=0.01))
    assert place.run(lambda team: carry_out(team, effect)).tasks[0].output == "done in attempt 2"


def test_an_effect_that_says_it_did_not_happen_is_done_again(place: Site, tmp_path: Path) -> None:
    payload = {"path": str(tmp_path / "effects"), "mode": "clean"}
    effect = Task("e", "probe.effect", payload, retries=Retries(limit=3, backoff=0.01))
    assert place.run(lambda team: carry_out(team, effect)).tasks[0].output == "done in attempt 2"


def test_writes_to_the_own_store_are_committed_with_the_result(place: Site) -> None:
    async def body(team: Team) -> list[Any]:
        detail = await carry_out(team, Task("s", "probe.store", "x1"))
        assert detail.plan.state is PlanState.DONE
        return await records(team).find("probes")

    assert place.run(body)[0]["_id"] == "x1"


def test_an_agents_state_outlives_the_team(place: Site) -> None:
    async def body(team: Team) -> int:
        total: int = await team._runtime.request("probe", "remember", 20)
        return total

    assert place.run(body) == 20
    assert place.run(body) == 40


def test_the_same_key_is_the_same_plan_while_it_runs(place: Site) -> None:
    async def body(team: Team) -> None:
        plan = Plan("p", (Task("s", "probe.sleep", 0.2),))
        first, second = await asyncio.gather(*(team.operations.submit(plan, key="k") for _ in range(2)))
        third = await team.operations.submit(plan, key="k")
        assert first.id == second.id == third.id
        await finished(team, first.id)
        assert len(await team.operations.plans()) == 1

    place.run(body)


def test_unknown_ids_are_errors_that_say_so(place: Site) -> None:
    async def body(team: Team) -> None:
        detail = await carry_out(team, echo("a"))
        with pytest.raises(NotFound, match="no plan 'nope'"):
            await team.operations.plan("nope")
        with pytest.raises(NotFound, match="no task"):
            await team.operations.task(f"{detail.plan.id}/z")
        with pytest.raises(InvalidRequest, match="has ended already"):
            await team.operations.cancel(detail.plan.id)
        with pytest.raises(InvalidRequest, match="nothing there has failed"):
            await team.operations.retry(detail.plan.id)
        with pytest.raises(InvalidRequest, match="not a task in state unknown"):
            await team.operations.settle(f"{detail.plan.id}/a", done=True)

    place.run(body)


def test_a_plans_name_stands_for_the_newest_of_that_name(place: Site) -> None:
    async def body(team: Team) -> None:
        await carry_out(team, echo("a"))
        second = await carry_out(team, echo("a"))
        assert (await team.operations.plan("p")).plan.id == second.plan.id
        assert [plan.id for plan in await team.operations.plans(limit=1)] == [second.plan.id]

    place.run(body)


def test_the_subject_of_a_plan_is_kept_with_it(place: Site) -> None:
    async def body(team: Team) -> str:
        with acting_for("ada"):
            record = await team.operations.submit(Plan("p", (echo("a"),)))
        await finished(team, record.id)
        return (await team.operations.plan(record.id)).plan.subject

    assert place.run(body) == "ada"


def test_leaving_waits_for_what_runs_and_keeps_the_rest_for_the_next_time(place: Site) -> None:
    async def begin(team: Team) -> str:
        tasks = (Task("s", "probe.sleep", 0.2), echo("after", "s"))
        record = await team.operations.submit(Plan("p", tasks))
        await asyncio.sleep(0.05)
        return record.id

    async def go_on(team: Team) -> PlanDetail:
        return await finished(team, plan)

    plan = place.run(begin)
    detail = place.run(go_on)
    assert states(detail) == {"s": "done", "after": "done"}
    assert [record.attempt for record in detail.tasks] == [1, 1]


def test_what_does_not_end_within_the_grace_time_is_handed_back_and_runs_again(tmp_path: Path) -> None:
    place = Site(tmp_path, TEAM.replace("grace = 5.0", "grace = 0.05"))

    async def begin(team: Team) -> str:
        record = await team.operations.submit(Plan("p", (Task("s", "probe.sleep", 0.6),)))
        await asyncio.sleep(0.1)
        return record.id

    plan = place.run(begin)
    place.path.write_text(TEAM)
    detail = place.run(lambda team: finished(team, plan))
    assert states(detail) == {"s": "done"}
    assert detail.tasks[0].attempt == 2
    assert (detail.tasks[0].failures, detail.tasks[0].lost) == (0, 0)


def test_a_state_directory_serves_one_team_at_a_time(place: Site) -> None:
    async def body(team: Team) -> None:
        with pytest.raises(StateLocked, match=r"process \d+"):
            async with Team(load_team_file(place.path, environ={})):
                pass

    place.run(body)


def test_a_team_that_cannot_start_leaves_nothing_running(tmp_path: Path) -> None:
    place = Site(tmp_path, TEAM + '[stores.primary]\npath = "/proc/no/such.db"\n')
    with pytest.raises(Exception, match="/proc/no"):
        place.run(lambda team: asyncio.sleep(0))
    Site(tmp_path).run(lambda team: carry_out(team, echo("a")))


def test_many_plans_at_once_all_end(place: Site) -> None:
    async def body(team: Team) -> set[PlanState]:
        async def one(number: int) -> PlanState:
            return (await carry_out(team, echo(f"a{number}"), echo("b", f"a{number}"))).plan.state

        return set(await asyncio.gather(*(one(number) for number in range(100))))

    assert place.run(body) == {PlanState.DONE}
