"""What becomes of an error on the command line: one clear message on stderr, and an exit code."""

from __future__ import annotations

import errno
import os
import sys

from aats_core.cli.commands import COMMANDS, commands_below
from aats_core.errors import (
    AatsError,
    AccessDenied,
    InvalidRequest,
    MigrationError,
    NotFound,
    PluginError,
    Refused,
    SettingsError,
)

FAILED, BAD_INPUT, NO_TEAM, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_BAD_INPUT = (AccessDenied, InvalidRequest, MigrationError, NotFound, PluginError, Refused, SettingsError)


class UsageError(AatsError):
    """The command line is not valid."""


def unknown_command(arguments: list[str]) -> UsageError:
    """Return the error that says which commands the first word may have meant."""
    import difflib

    word = arguments[0]
    below = commands_below(word)
    if below:
        return UsageError(f"aats {word}: say which: {', '.join(f'aats {command.name}' for command in below)}")
    what = "option" if word.startswith("-") else "command"
    near = difflib.get_close_matches(word, [*COMMANDS, "--help", "--version", "--install-completion"], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`aats --help` lists the commands"
    return UsageError(f"there is no {what} {word!r}; {hint}")


def exit_code(error: BaseException) -> int:
    """Say on stderr what went wrong, and return the exit code; of an unexpected error the traceback goes to a file."""
    cause = _cause(error)
    if isinstance(cause, SystemExit):
        return cause.code if isinstance(cause.code, int) else int(cause.code is not None)
    if isinstance(cause, BrokenPipeError):
        return _stop_writing()
    if isinstance(cause, OSError) and cause.filename is None and cause.errno in _NO_ROOM:
        say(f"what it prints cannot be written: {cause.strerror}")
        _stop_writing()
        return NO_TEAM
    if isinstance(cause, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    if isinstance(cause, AatsError):
        say(str(cause))
        return BAD_INPUT if isinstance(cause, (*_BAD_INPUT, UsageError)) else NO_TEAM
    say(f"this should not have happened: {type(cause).__name__}: {cause}\n{keep_traceback(error)}")
    return NO_TEAM


def _cause(error: BaseException) -> BaseException:
    """Return the error that a group is about: the first that is not expected, or else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    unexpected = error.split(AatsError)[1]
    return _cause((unexpected or error).exceptions[0])


def say(message: str) -> None:
    """Print a message on stderr, after the name of the program and without any secret."""
    redact = getattr(sys.modules.get("aats_core.secrets"), "redact", str)
    try:
        print(f"aats: {redact(message)}", file=sys.stderr, flush=True)
    except OSError:
        return  # nobody is there to be told


def _stop_writing() -> int:
    """Send what is still buffered nowhere, so that the interpreter does not complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def keep_traceback(error: BaseException) -> str:
    """Write the traceback of an error into a file, and return a sentence that names it."""
    import tempfile
    import traceback

    redact = getattr(sys.modules.get("aats_core.secrets"), "redact", str)
    text = redact("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="aats-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(text)
    except OSError as problem:
        return f"its traceback could not be kept ({problem.strerror})"
    return f"its traceback is in {file.name}"
