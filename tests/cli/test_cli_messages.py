"""`aats topics` and `aats dlq`: what nobody could handle is listed, shown, edited, replayed and purged."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FUSSY = """
    from pathlib import Path
    from aats_core import Agent, on, subscribe, task

    class Fussy(Agent):
        @task("fussy.feed")
        async def feed(self, dishes: list[str]) -> None:
            for dish in dishes:
                await self.send(self.name, "eat", {"dish": dish})

        @on("eat")
        async def eat(self, meal: dict[str, str]) -> None:
            if meal["dish"] == "spinach":
                raise ValueError("no spinach")
            with Path("eaten").open("a") as file:
                file.write(meal["dish"] + "\\n")

        @subscribe("system.events.dinner")
        async def dinner(self, event: object) -> None: ...
"""
TEAM = """
    [agents.fussy]
    retries = { limit = 1, backoff = 0.01 }
"""


def install(place: Any, name: str, source: str) -> None:
    """Have an agent plugin where only the commands of that place find it."""
    info = f"library/acme_{name}-1.0.dist-info"
    place.write(f"library/acme_{name}.py", source)
    place.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n")
    place.write(f"{info}/entry_points.txt", f"[aats.agents]\n{name} = acme_{name}:{name.title()}\n")
    place.environ["PYTHONPATH"] = f"{place.path / 'library'}:{place.environ['PYTHONPATH']}"


@pytest.fixture
def fed(place: Any) -> Iterator[Any]:
    """Yield a place with a team in which two messages became dead letters."""
    install(place, "fussy", FUSSY)
    place.write("team.toml", TEAM)
    place.write("feed.yaml", "tasks: {feed: {kind: fussy.feed, payload: [spinach, bread, spinach]}}")
    team = place.start("run", "team.toml", stderr=subprocess.DEVNULL)
    while not (place.path / ".aats" / "aats.sock").exists():
        assert team.poll() is None
    assert place.aats("submit", "feed.yaml", "--wait").returncode == 0
    letters(place, 2)
    yield place
    team.terminate()
    assert team.wait(30) == 0


def letters(place: Any, count: int) -> list[dict[str, Any]]:
    """Return the dead letters once there are so many."""
    for _ in range(100):
        found: list[dict[str, Any]] = json.loads(place.aats("dlq", "list", "--json").stdout)
        if len(found) == count:
            return found
    raise AssertionError(f"not {count} dead letters: {found}")


def eaten(path: Path) -> list[str]:
    return (path / "eaten").read_text().split()


def test_dead_letters_are_listed_with_reason_attempts_and_topic(fed: Any) -> None:
    first, _ = letters(fed, 2)
    assert (first["topic"], first["attempts"]) == ("agent.tasks.fussy", 2)
    assert first["reason"].endswith("ValueError: no spinach")
    assert first["message"]["payload"] == {"dish": "spinach"}
    table = fed.aats("dlq", "list", "agent.*.fussy").stdout
    assert table.count("no spinach") == 2
    assert fed.aats("dlq", "list", "agent.tasks.other").stdout.split()[0] == "ID"
    shown = fed.aats("dlq", "show", first["id"]).stdout
    assert '"dish": "spinach"' in shown
    assert "agent.tasks.fussy" in shown


def test_an_edited_letter_is_replayed_and_gone(fed: Any) -> None:
    first, second = letters(fed, 2)
    edited = json.loads(fed.aats("dlq", "edit", first["id"], "--payload", '{"dish": "cake"}', "--json").stdout)
    assert edited["message"]["payload"] == {"dish": "cake"}
    assert {letter["id"] for letter in letters(fed, 2)} == {second["id"], edited["id"]}
    assert fed.aats("dlq", "replay", edited["id"]).stdout == "1 replayed\n"
    while "cake" not in eaten(fed.path):
        pass
    assert [letter["id"] for letter in letters(fed, 1)] == [second["id"]]


def test_what_fails_again_is_a_dead_letter_again(fed: Any) -> None:
    before = {letter["id"] for letter in letters(fed, 2)}
    assert json.loads(fed.aats("dlq", "replay", "--all", "--json").stdout) == {"replayed": 2}
    after = letters(fed, 2)
    assert not before & {letter["id"] for letter in after}


def test_letters_are_purged_by_topic(fed: Any) -> None:
    assert fed.aats("dlq", "purge", "--topic", "agent.tasks.other").stdout == "0 purged\n"
    assert fed.aats("dlq", "purge", "--topic", "agent.tasks.fussy").stdout == "2 purged\n"
    assert letters(fed, 0) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("replay",), "say which dead letters"),
        (("purge", "a", "--all"), "say which dead letters"),
        (("replay", "nine"), "there is no dead letter nine"),
        (("show", "nine"), "there is no dead letter nine"),
        (("edit", "nine", "--payload", "{}"), "there is no dead letter nine"),
        (("edit", "nine", "--payload", "{"), "--payload: not JSON"),
    ],
)
def test_what_cannot_be_meant_is_refused(fed: Any, arguments: tuple[str, ...], complaint: str) -> None:
    answer = fed.aats("dlq", *arguments)
    assert answer.returncode == 2
    assert complaint in answer.stderr
    assert len(letters(fed, 2)) == 2


def test_topics_tell_of_groups_and_dead_letters(fed: Any) -> None:
    found = {topic["topic"]: topic for topic in json.loads(fed.aats("topics", "--json").stdout)}
    assert found["agent.tasks.fussy"]["dead"] == 2
    (group,) = found["system.events.dinner"]["groups"]
    assert group == {"name": "fussy", "consumers": 1, "waiting": 0, "held": 0}
    assert "system.events.dinner" in fed.aats("topics").stdout


def test_a_run_ends_where_an_agent_that_its_plan_needs_is_given_up(place: Any) -> None:
    source = """
        from aats_core import Agent, on, task

        class Frail(Agent):
            @task("frail.wait")
            async def wait(self) -> None:
                await self.request(self.name, "collapse", timeout=60)

            @on("collapse")
            async def collapse(self) -> None:
                raise SystemExit(7)
    """
    install(place, "frail", source)
    place.write("team.toml", "[agents.frail]\nrestarts = { limit = 0 }")
    place.write("plan.yaml", "tasks: {wait: {kind: frail.wait}}")
    ended = place.aats("run", "team.toml", "--plan", "plan.yaml")
    assert ended.returncode == 3
    assert "frail crashed too often" in ended.stderr
    assert "Traceback" not in ended.stderr
