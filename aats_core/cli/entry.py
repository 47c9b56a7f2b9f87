"""Where `aats` begins: answers quick questions itself, and imports only the one command that was asked for."""

from __future__ import annotations

import io
import sys

from aats_core.cli.commands import COMMANDS, Command, commands_below, overview, overview_below
from aats_core.version import VERSION

_HELP = ("--help", "-h")


def main() -> int:
    """Carry out the command line and return the exit code.

    0 is success; 1 that work failed; 2 that something given was wrong; 3 that no team could be started or reached;
    130 and 143 that a signal stopped it.
    """
    arguments = sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without a sign for … must not end the program
    try:
        code = _answer(arguments)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the one place that turns whatever is left into an exit code
        from aats_core.cli.failure import exit_code

        return exit_code(error)
    return code


def _answer(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in _HELP:
        print(overview())
        return 0
    if arguments[1:2] and arguments[1] in _HELP and commands_below(first):
        print(overview_below(first))
        return 0
    if first == "--version":
        print(f"aats {VERSION}")
        return 0
    if first.partition("=")[0] in ("--install-completion", "--show-completion"):
        from aats_core.cli.completion import complete

        return complete(arguments)
    command, rest = _find(arguments)
    from aats_core.cli.invoke import invoke

    return invoke(command, rest)


def _find(arguments: list[str]) -> tuple[Command, list[str]]:
    for words in (2, 1):
        command = COMMANDS.get(" ".join(arguments[:words]))
        if command is not None:
            return command, arguments[words:]
    from aats_core.cli.failure import unknown_command

    raise unknown_command(arguments)
