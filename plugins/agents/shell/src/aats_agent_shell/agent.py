"""The agent that runs commands."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from aats_agent_shell.command import Command, Invocation, prepare
from aats_agent_shell.execution import Execution, execute
from aats_agent_shell.settings import ShellSettings
from aats_core.agent import Agent, TaskContext
from aats_core.errors import TaskFailed
from aats_core.handlers import task
from aats_core.processes import Processes
from aats_core.secrets import redact

LAST_LINES = 10
"""How many of a failed command's last lines its error shows."""

_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.EIO, errno.ESTALE})


class Output(TypedDict):
    """The output of a task: exit code (minus the signal that ended it), both outputs as text, and the run time.

    The flags say whether the middle of an output was left out because it was too long. `json` is what the command
    wrote, parsed, where the payload asks for that.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    stdout_truncated: bool
    stderr_truncated: bool
    json: NotRequired[Any]


class Shell(Agent):
    """Runs tasks that are commands: lists of arguments, or lines for the shell."""

    Settings = ShellSettings

    _processes: Processes | None = None

    async def start(self) -> None:
        """Get ready to start processes; none is started yet."""
        if self._processes is None:
            self._processes = Processes(grace=self.settings.grace)

    async def stop(self) -> None:
        """End every command that still runs, and all that it started."""
        if self._processes is not None:
            processes, self._processes = self._processes, None
            await processes.close()

    @task("shell.run")
    async def run(self, command: Command, ctx: TaskContext) -> Output:
        """Run a command and return its exit code and what it wrote."""
        assert self._processes is not None
        settings: ShellSettings = self.settings
        invocation = prepare(command, settings, ctx)
        timeout = settings.timeout if command.timeout is None else command.timeout
        try:
            done = await execute(self._processes, invocation, ctx, timeout=timeout, limit=settings.max_output)
        except (OSError, ValueError) as error:
            raise _not_started(error, invocation) from error
        output = _output(done)
        if done.timed_out:
            raise _failed(f"no end within {timeout:g} s", output)
        if done.code not in command.ok_codes:
            raise _failed(_ending(done.code), output)
        if command.output == "json":
            output["json"] = _parsed(output)
        return output


def _output(done: Execution) -> Output:
    return {
        "code": done.code,
        "stdout": done.stdout.text(),
        "stderr": done.stderr.text(),
        "seconds": round(done.seconds, 6),
        "stdout_truncated": done.stdout.dropped > 0,
        "stderr_truncated": done.stderr.dropped > 0,
    }


def _parsed(output: Output) -> Any:
    """Return the output as JSON, or else its last line."""
    text = output["stdout"]
    for candidate in (text, text.rstrip().rpartition("\n")[2]):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    cut = " (its middle was left out, see `max_output`)" if output["stdout_truncated"] else ""
    raise _failed(f"it ended well, but neither its output{cut} nor the last line of that is JSON", output)


def _failed(what: str, output: Output) -> TaskFailed:
    last = (output["stderr"].strip() or output["stdout"].strip()).splitlines()[-LAST_LINES:]
    return TaskFailed(redact("\n".join([what, *last])), output=output)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _not_started(error: OSError | ValueError, invocation: Invocation) -> TaskFailed:
    program = invocation.argv[0]
    if not isinstance(error, OSError) or error.errno is None:
        return TaskFailed(redact(str(error)), retry=isinstance(error, OSError))
    retry = error.errno in _PASSING
    if invocation.cwd is not None and error.filename == str(invocation.cwd):
        return TaskFailed(f"cwd {Path(error.filename).absolute()}: {error.strerror}", retry=retry)
    if error.errno == errno.ENOENT and "/" not in program:
        return TaskFailed(f"{program}: command not found in PATH, {invocation.env.get('PATH', '')!r}", retry=retry)
    return TaskFailed(f"{program}: {error.strerror}", retry=retry)
