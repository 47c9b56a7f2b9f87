"""`aats cancel`, `retry`, `settle` and `drain`: what people decide while a team runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aats_core.cli.address import ask
from aats_core.cli.failure import UsageError
from aats_core.cli.options import HERE, Json, TeamAddress
from aats_core.cli.output import print_json

Id = Annotated[str, Parameter(help="A task's id, PLAN/NAME, or a plan's.")]


def cancel(
    id: Id,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; kept with the task.")] = "",
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Cancel a task, or all tasks of a plan that have not ended; what runs is stopped."""
    _print_ids("cancelled", ask(address, lambda team: team.cancel(id, reason)), as_json=json)


def retry(id: Id, /, *, json: Json = False, address: TeamAddress = HERE) -> None:
    """Run a failed, cancelled or unknown task again, or all of a plan, and what was skipped for them."""
    _print_ids("to run again", ask(address, lambda team: team.retry(id)), as_json=json)


def settle(
    id: Annotated[str, Parameter(help="The task's id, PLAN/NAME.")],
    outcome: Annotated[Literal["done", "failed"], Parameter(help="What became of it.")],
    /,
    *,
    output: Annotated[str | None, Parameter(help="What a done task returned, as JSON.")] = None,
    reason: Annotated[str, Parameter(help="How it is known; kept with the task.")] = "",
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Decide what became of a task that a crash left in state unknown; its plan then goes on."""
    value = None if output is None else decode_json("--output", output)
    record = ask(address, lambda team: team.settle(id, outcome == "done", value, reason))
    if json:
        print_json(record)
    else:
        print(f"{record.id}: {record.state}")


def drain(*, json: Json = False, address: TeamAddress = HERE) -> None:
    """Let running tasks finish within the team's grace time, begin nothing new, and stop the team."""
    ask(address, lambda team: team.drain())
    if json:
        print_json({"draining": True})
        return
    print("the team drains; what has not ended goes on when it is started again")


def decode_json(option: str, text: str) -> Any:
    """Return what an option's JSON says."""
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(f"{option}: not JSON: {error}; quote text twice: {option} '\"text\"'") from error


def _print_ids(what: str, ids: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(ids)
        return
    for task in ids:
        print(f"{task}: {what}")
