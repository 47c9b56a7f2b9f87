"""Where a running team is, and how a command asks it something."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from aats_core.cli.failure import UsageError
from aats_core.cli.options import TeamAddress
from aats_core.door_client import connect
from aats_core.errors import SettingsError
from aats_core.operations import Operations

T = TypeVar("T")

_DEFAULT = Path(".aats")


def find_state_dir(address: TeamAddress) -> Path:
    """Return the state directory of the team that is meant; of a team file only that one field is read."""
    if address.team is not None and address.state_dir is not None:
        raise UsageError("give either --team or --state-dir, not both")
    if address.state_dir is not None:
        return address.state_dir
    if address.team is not None:
        return _named_in(address.team)
    here = Path("team.toml")
    return _named_in(here) if here.is_file() else _DEFAULT


def _named_in(team_file: Path) -> Path:
    try:
        content = tomllib.loads(team_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{team_file}: it cannot be read: {getattr(error, 'strerror', None) or error}") from error
    team = content.get("team", {})
    named = os.environ.get("AATS_TEAM__STATE_DIR") or (team.get("state_dir") if isinstance(team, dict) else None)
    if not isinstance(named, str | None):
        raise SettingsError(f"{team_file}: [team] state_dir: it must be a path; `aats check {team_file}` says more")
    return team_file.parent / (named or _DEFAULT)


def ask(address: TeamAddress, question: Callable[[Operations], Awaitable[T]]) -> T:
    """Return what a running team answers; raises `TeamUnavailable` where none runs there."""

    async def put() -> T:
        async with connect(find_state_dir(address)) as team:
            return await question(team)

    return asyncio.run(put())
