"""`aats migrate`: which steps the stores of a team have been through, and carrying them out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number

from aats_core.cli.failure import BAD_INPUT, FAILED, UsageError, keep_traceback, say
from aats_core.cli.options import Json, Overrides, TeamFilePath
from aats_core.cli.output import print_json, print_table
from aats_core.cli.words import duration, local_time, plural
from aats_core.errors import MigrationFailed

if TYPE_CHECKING:
    from aats_core.migrations.ledger import Direction
    from aats_core.migrations.state import Standing
    from aats_core.migrations.steps import Step

T = TypeVar("T")

To = Annotated[str, Parameter(help="A step's id, or its beginning, such as its number.")]
Wait = Annotated[
    float,
    Parameter(validator=Number(gte=0), help="Seconds to wait for another process that migrates or runs the team."),
]


def status(file: TeamFilePath, /, *, set: Overrides = None, json: Json = False) -> int:
    """Say where each step stands, in the order in which they are carried out.

    The exit code is 0 if all are applied, 1 if some are not, and 2 if files and ledgers contradict each other.
    """
    from aats_core.migrations.opening import open_to_read
    from aats_core.migrations.state import StepState
    from aats_core.team_file import load_team_file

    async def ask() -> tuple[list[Standing], list[str]]:
        async with open_to_read(load_team_file(file, overrides=set or ())) as migrator:
            return await migrator.standings()

    standings, problems = _run(ask())
    if json:
        print_json({"steps": [_as_data(standing) for standing in standings], "problems": problems})
    else:
        rows = [_row(standing) for standing in standings]
        print_table(("STEP", "STATE", "STORES", "TIME", "BY", "DETAIL"), rows)
        for problem in problems:
            say(problem)
    if problems:
        return BAD_INPUT
    return 0 if all(standing.state is StepState.APPLIED for standing in standings) else FAILED


def plan(file: TeamFilePath, /, *, to: To = "", set: Overrides = None, json: Json = False) -> None:
    """Say which steps `aats migrate up` would carry out, in which stores; nothing is changed."""
    from aats_core.migrations.opening import open_to_read
    from aats_core.team_file import load_team_file

    async def ask() -> list[Standing]:
        async with open_to_read(load_team_file(file, overrides=set or ())) as migrator:
            return await migrator.plan_up(to)

    chosen = _run(ask())
    if json:
        print_json([_as_data(standing) for standing in chosen])
    elif chosen:
        _print_plan(chosen)
    else:
        print("nothing to do: all steps are applied")


def up(
    file: TeamFilePath,
    /,
    *,
    to: To = "",
    accept: Annotated[
        list[str] | None,
        Parameter(negative="", help="Take this applied step's file as it is now, although it was changed."),
    ] = None,
    wait: Wait = 60.0,
    set: Overrides = None,
    json: Json = False,
) -> int:
    """Carry out the steps that have not been, in order, up to one or all of them.

    What was interrupted goes on. One process at a time does so; another waits. The exit code is 1 if a step failed:
    those before it are done then, and those after it were not begun.
    """
    from aats_core.migrations.opening import open_to_change
    from aats_core.team_file import load_team_file

    watcher = _Watcher(show=not json)

    async def change() -> list[Step]:
        team_file = load_team_file(file, overrides=set or ())
        async with open_to_change(team_file, wait=wait, waiting=watcher.waiting) as migrator:
            for changed in accept or ():
                watcher.accept(await migrator.accept(changed))
            return await migrator.up(watcher, to=to, wait=wait)

    return _change(change(), watcher, as_json=json)


def down(
    file: TeamFilePath,
    /,
    *,
    to: To = "",
    steps: Annotated[int | None, Parameter(validator=Number(gte=1), help="Revert the last so many steps.")] = None,
    all: Annotated[bool, Parameter("--all", negative="", show_default=False, help="Revert all steps.")] = False,
    yes: Annotated[
        bool, Parameter(negative="", show_default=False, help="Do it; without this it is only said what would be done.")
    ] = False,
    wait: Wait = 60.0,
    set: Overrides = None,
    json: Json = False,
) -> int:
    """Revert applied steps, the last first: those after the step `--to`, the last `--steps`, or `--all`.

    Without --yes nothing is changed: it is said what would be, and the exit code is 2.
    """
    from aats_core.migrations.opening import open_to_change, open_to_read
    from aats_core.team_file import load_team_file

    if (bool(to), steps is not None, all).count(True) != 1:
        raise UsageError("say which steps: --to STEP, --steps N, or --all")
    team_file = load_team_file(file, overrides=set or ())
    watcher = _Watcher(show=not json)

    async def ask() -> list[Standing]:
        async with open_to_read(team_file) as migrator:
            return await migrator.plan_down(to=to, count=steps)

    async def change() -> list[Step]:
        async with open_to_change(team_file, wait=wait, waiting=watcher.waiting) as migrator:
            return await migrator.down(watcher, to=to, count=steps, wait=wait)

    if yes:
        return _change(change(), watcher, as_json=json)
    chosen = _run(ask())
    if json:
        print_json([_as_data(standing) for standing in chosen])
    elif chosen:
        _print_plan(chosen)
    else:
        print("nothing to do: no step there is applied")
    if not chosen:
        return 0
    raise UsageError(f"nothing was changed; with --yes {plural(len(chosen), 'step')} would be, in this order")


class _Watcher:
    """Prints what happens, and remembers what was done."""

    def __init__(self, *, show: bool) -> None:
        self.accepted: list[str] = []
        self.done_so_far: list[dict[str, Any]] = []
        self.failed: dict[str, Any] | None = None
        self._show = show
        self._begun: dict[str, Any] = {}

    def waiting(self, holder: str) -> None:
        say(f"waiting: {holder}")

    def accept(self, step: Step) -> None:
        self.accepted.append(step.id)
        if self._show:
            print(f"{step.id}: its file is accepted as it is now", flush=True)

    def fail(self, error: MigrationFailed) -> None:
        self.failed = {**self._begun, "reason": str(error)}

    def begun(self, step: Step, direction: Direction, *, resumed: bool) -> None:
        self._begun = {"step": step.id, "direction": direction, "file": str(step.file.path)}
        if self._show:
            print(
                f"{step.id}: {direction}{', going on' if resumed else ''}: {step.description}".rstrip(": "), flush=True
            )

    def note(self, step: Step, text: str) -> None:
        say(f"{step.id}: {text}")

    def done(self, step: Step, direction: Direction, seconds: float) -> None:
        self.done_so_far.append({"step": step.id, "direction": direction, "seconds": round(seconds, 3)})
        if self._show:
            print(f"{step.id}: {'applied' if direction == 'up' else 'reverted'} in {duration(seconds)}", flush=True)


def _change(work: Coroutine[Any, Any, list[Step]], watcher: _Watcher, *, as_json: bool) -> int:
    try:
        _run(work)
    except MigrationFailed as error:
        watcher.fail(error)
        say(f"{error}\n{keep_traceback(error)}")
        code = FAILED
    else:
        code = 0
    if as_json:
        outcome = {"accepted": watcher.accepted, "done": watcher.done_so_far, "failed": watcher.failed}
        print_json({"exit_code": code, **outcome})
    elif not code and not watcher.done_so_far and not watcher.accepted:
        print("nothing to do")
    return code


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end; SIGTERM ends it as Ctrl-C does."""
    terminated = False

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None, "this is one"

        def stop() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if not terminated:
            raise
        say("stopped; what was begun goes on with the same command")
        raise SystemExit(128 + signal.SIGTERM) from None


def _print_plan(chosen: Sequence[Standing]) -> None:
    rows = [
        (
            one.step.id,
            one.state,
            ", ".join(one.step.migration.stores),
            "in a transaction" if one.step.atomic else "step by step",
            one.step.description,
        )
        for one in chosen
    ]
    print_table(("STEP", "STATE", "STORES", "HOW", "DESCRIPTION"), rows)


def _row(standing: Standing) -> tuple[object, ...]:
    home = standing.home
    time = local_time(home.time) if home.time else ""
    return (standing.step.id, standing.state, ", ".join(standing.entries), time, home.by, _detail(standing))


def _detail(standing: Standing) -> str:
    attempt = standing.home.attempt
    if standing.changed:
        return "its file was changed"
    if standing.error:
        return standing.error
    if attempt is not None:
        return f"{attempt.direction} begun {local_time(attempt.time)} by {attempt.by}"
    return standing.step.description


def _as_data(standing: Standing) -> dict[str, Any]:
    step = standing.step
    return {
        "id": step.id,
        "file": str(step.file.path),
        "description": step.description,
        "state": standing.state,
        "stores": list(step.migration.stores),
        "atomic": step.atomic,
        "irreversible": step.migration.irreversible,
        "checksum": step.file.checksum,
        "changed": standing.changed,
        "ledgers": dict(standing.entries),
    }
