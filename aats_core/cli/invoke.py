"""One command: its options read from the command line by the annotations of its function, which is then called."""

from __future__ import annotations

import importlib
from typing import Any

from cyclopts import App, CycloptsError

from aats_core.cli.commands import Command
from aats_core.cli.failure import UsageError


def app_of(command: Command, name: str) -> App:
    """Return the parser of a command, with its module imported; `name` is what its help calls it."""
    function = getattr(importlib.import_module(command.module), command.function)
    app = App(name=name, help_flags=("--help", "-h"), version_flags=(), result_action="return_value")
    app.default(function)
    app["--help"].group = "Parameters"
    return app


def invoke(command: Command, arguments: list[str]) -> int:
    """Carry out a command and return its exit code; raises `UsageError` where its arguments do not fit."""
    app = app_of(command, f"aats {command.name}")
    try:
        function, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(f"{str(error).strip()}\n`aats {command.name} --help` says what it takes") from error
    code: Any = function(*bound.args, **bound.kwargs)
    return code or 0
