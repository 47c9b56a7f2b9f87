"""`aats status`, `aats agents` and `aats metrics`: how a running team is, and what its agents do."""

from __future__ import annotations

import time

from aats_core.cli.address import ask
from aats_core.cli.options import HERE, Json, TeamAddress
from aats_core.cli.output import print_facts, print_json, print_table
from aats_core.cli.words import duration
from aats_core.operations import AgentStatus


def status(*, json: Json = False, address: TeamAddress = HERE) -> int:
    """Say how the team is: the health of its broker, stores and integrations, and of its agents.

    The exit code is 0 where all of it works, and 1 where a part is down or an agent has failed.
    """
    found = ask(address, lambda team: team.status())
    well = all(part.status != "down" for part in found.parts.values()) and all(
        a.status != "failed" for a in found.agents
    )
    if json:
        print_json(found)
        return int(not well)
    print_facts(
        [
            ("Team", found.name),
            ("State", "draining" if found.draining else "running"),
            ("Process", found.pid),
            ("Version", found.version),
            ("Up for", duration(time.time() - found.started)),
        ]
    )
    print_table(("PART", "HEALTH", "DETAIL"), [(n, p.status, p.detail) for n, p in found.parts.items()])
    print()
    _print_agents(found.agents)
    return int(not well)


def metrics(*, address: TeamAddress = HERE) -> None:
    """Print the figures of the running team's process in the text format of Prometheus."""
    print(ask(address, lambda team: team.metrics()), end="")


def agents(*, json: Json = False, address: TeamAddress = HERE) -> None:
    """List the agents of the running team, what they can do and what they are doing."""
    found = ask(address, lambda team: team.agents())
    if json:
        print_json(found)
        return
    _print_agents(found)


def _print_agents(agents: list[AgentStatus]) -> None:
    rows = [
        (
            agent.name,
            agent.status,
            agent.replicas,
            agent.handled,
            agent.waiting,
            agent.restarts or "",
            ", ".join(sorted(agent.kinds)),
            ", ".join(agent.running) or agent.detail,
        )
        for agent in agents
    ]
    print_table(("AGENT", "STATE", "REPLICAS", "HANDLED", "WAITING", "RESTARTS", "KINDS", "RUNS"), rows)
