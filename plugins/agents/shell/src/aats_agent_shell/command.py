"""What a task says of its command, and what becomes of that: the program, its directory and its environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from aats_agent_shell.settings import ShellSettings
from aats_core.agent import TaskContext
from aats_core.errors import TaskFailed
from aats_core.processes import program_environment


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a task of kind `shell.run`.

    `command` is a list of arguments, or a line for the shell. `env` is added to the environment, `stdin` is what the
    command reads, `timeout` the seconds it may take. Exit codes other than `ok_codes` fail the task. With
    `output: json` its output, or the last line of it, is parsed.
    """

    command: Annotated[list[str], Meta(min_length=1)] | Annotated[str, Meta(min_length=1)]
    cwd: str = ""
    env: dict[str, str] = {}
    stdin: str = ""
    timeout: Annotated[float, Meta(gt=0)] | None = None
    ok_codes: tuple[int, ...] = (0,)
    output: Literal["text", "json"] = "text"


class Invocation(msgspec.Struct, frozen=True):
    """A command as it is executed."""

    argv: list[str]
    cwd: Path | None
    env: dict[str, str]
    stdin: str = ""


def prepare(command: Command, settings: ShellSettings, ctx: TaskContext) -> Invocation:
    """Return how a command is executed; raises `TaskFailed`, for good, where the agent's settings do not allow it."""
    own = {**program_environment(), **{name: value.get_secret_value() for name, value in settings.env.items()}}
    about = {"AATS_TASK_ID": ctx.id, "AATS_PLAN": ctx.plan, "AATS_ATTEMPT": str(ctx.attempt)}
    if isinstance(command.command, str):
        if settings.allow is not None:
            raise TaskFailed(
                "shell lines are not allowed, because the agent has a list of allowed programs; "
                "write the command as a list of arguments",
                retry=False,
            )
        argv = [settings.shell, "-c", command.command]
    else:
        argv = list(command.command)
        if settings.allow is not None:
            argv[0] = allowed(argv[0], settings.allow, own.get("PATH", os.defpath))
    cwd = (settings.cwd or Path()) / command.cwd if settings.cwd or command.cwd else None
    return Invocation(argv, cwd, {**own, **command.env, **about}, command.stdin)


def allowed(program: str, allow: Sequence[str], path: str) -> str:
    """Return the absolute path of an allowed program; raises `TaskFailed` for any other.

    Names are looked up in `path`, which a task cannot change. An absolute path is allowed if it is listed, or is the
    very file that an allowed name stands for; a relative one never is, as it depends on the task's directory.
    """
    name = program if "/" not in program else Path(program).name
    found = shutil.which(name, path=path) if name in allow else None
    if program.startswith("/") and program in allow:
        return program
    if found is not None and ("/" not in program or (program.startswith("/") and _same_file(program, found))):
        return str(Path(found).absolute())
    if program in allow:
        raise TaskFailed(f"{program} is allowed but not found in the agent's PATH, {path}", retry=False)
    raise TaskFailed(f"{program} is not allowed; the agent runs only: {', '.join(allow) or 'nothing'}", retry=False)


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
