"""`aats topics` and `aats dlq`: what waits at the broker, and what nobody could handle."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from aats_core.broker import DeadLetter
from aats_core.cli.address import ask
from aats_core.cli.change import decode_json
from aats_core.cli.failure import UsageError
from aats_core.cli.options import HERE, Json, TeamAddress
from aats_core.cli.output import print_facts, print_json, print_table
from aats_core.cli.words import local_time
from aats_core.errors import NotFound

Topic = Annotated[str | None, Parameter(help="A topic; `*` in it stands for any one of its words.")]
Id = Annotated[str, Parameter(help="A dead letter's id, as `aats dlq list` prints it.")]
Ids = Annotated[list[str] | None, Parameter(help="The ids of dead letters, as `aats dlq list` prints them.")]
Whole = Annotated[str | None, Parameter("--topic", help="All dead letters of that topic; `*` is any one word.")]
Everything = Annotated[bool, Parameter("--all", negative="", show_default=False, help="All dead letters.")]


def topics(*, json: Json = False, address: TeamAddress = HERE) -> None:
    """List the topics of the team: who consumes them, how many messages wait (the lag), are held, or are dead."""
    found = ask(address, lambda team: team.topics())
    if json:
        print_json(found)
        return
    rows: list[tuple[object, ...]] = []
    for topic in found:
        rows += [(topic.topic, g.name, g.consumers, g.waiting, g.held, topic.dead or "") for g in topic.groups]
        if not topic.groups:
            rows.append((topic.topic, "", "", "", "", topic.dead))
    print_table(("TOPIC", "GROUP", "CONSUMERS", "WAITING", "HELD", "DEAD"), rows)


def dlq_list(topic: Topic = None, /, *, json: Json = False, address: TeamAddress = HERE) -> None:
    """List the messages that nobody could handle, oldest first, and why."""
    found = ask(address, lambda team: team.dead_letters(topic))
    if json:
        print_json(found)
        return
    rows = [(e.id, local_time(e.time), e.topic, e.message.type, e.attempts, _brief(e.reason)) for e in found]
    print_table(("ID", "TIME", "TOPIC", "TYPE", "ATTEMPTS", "REASON"), rows)


def dlq_show(id: Id, /, *, json: Json = False, address: TeamAddress = HERE) -> None:
    """Show one dead letter with its whole message."""
    found = ask(address, lambda team: team.dead_letters())
    letter = next((letter for letter in found if letter.id == id), None)
    if letter is None:
        raise NotFound(f"there is no dead letter {id}; `aats dlq list` tells which there are")
    if json:
        print_json(letter)
    else:
        _print(letter)


def dlq_edit(
    id: Id,
    /,
    *,
    payload: Annotated[str, Parameter(help="What the message is to carry, as JSON.")],
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Give the message of a dead letter another payload, before it is replayed; the letter gets a new id."""
    value = decode_json("--payload", payload)
    letter = ask(address, lambda team: team.edit_dead_letter(id, value))
    if json:
        print_json(letter)
    else:
        _print(letter)


def dlq_replay(
    ids: Ids = None,
    /,
    *,
    topic: Whole = None,
    all: Everything = False,
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Publish dead letters again, each to its topic and with fresh attempts."""
    chosen = _choose(ids, topic, address, all=all)
    count = ask(address, lambda team: team.replay_dead_letters(chosen))
    print_json({"replayed": count}) if json else print(f"{count} replayed")


def dlq_purge(
    ids: Ids = None,
    /,
    *,
    topic: Whole = None,
    all: Everything = False,
    json: Json = False,
    address: TeamAddress = HERE,
) -> None:
    """Delete dead letters for good."""
    chosen = _choose(ids, topic, address, all=all)
    count = ask(address, lambda team: team.purge_dead_letters(chosen))
    print_json({"purged": count}) if json else print(f"{count} purged")


def _choose(ids: list[str] | None, topic: str | None, address: TeamAddress, *, all: bool) -> list[str]:
    if (bool(ids), topic is not None, all).count(True) != 1:
        raise UsageError("say which dead letters: their ids, --topic TOPIC, or --all")
    return ids or [letter.id for letter in ask(address, lambda team: team.dead_letters(topic))]


def _brief(reason: str) -> str:
    """Return what a traceback ends with, or the whole of another reason."""
    return reason.rstrip().rpartition("\n")[2] if reason.startswith("Traceback") else reason


def _print(letter: DeadLetter) -> None:
    message = letter.message
    facts: list[tuple[str, object]] = [
        ("Dead letter", letter.id),
        ("Topic", letter.topic),
        ("Time", local_time(letter.time)),
        ("Reason", letter.reason),
        ("Attempts", letter.attempts),
        ("Message", message.id),
        ("Type", message.type),
        ("From", message.sender),
        ("To", message.receiver),
        ("Sent", local_time(message.timestamp)),
        ("Headers", message.headers),
        ("Payload", message.read(object)),
    ]
    print_facts([(name, value) for name, value in facts if value not in ("", None, {})])
