"""Shell completion: a static script, so that no Python starts when a key is pressed."""

from __future__ import annotations

from typing import Literal, get_args

from cyclopts import App
from cyclopts.completion import ShellDetectionError

from aats_core.cli.commands import COMMANDS
from aats_core.cli.failure import UsageError
from aats_core.cli.invoke import app_of

Shell = Literal["bash", "zsh", "fish", "powershell"]


def complete(arguments: list[str]) -> int:
    """Carry out `--install-completion [SHELL]` or `--show-completion [SHELL]`; a shell not given is found out."""
    option, _, shell = " ".join(arguments).replace("=", " ").partition(" ")
    if shell and shell not in get_args(Shell):
        raise UsageError(f"{option}: there is no shell {shell!r} here, but {', '.join(get_args(Shell))}")
    chosen: Shell | None = shell or None  # type: ignore[assignment]  # one of those, as checked
    try:
        if option == "--show-completion":
            script = whole_app().generate_completion(shell=chosen)
        else:
            path = whole_app().install_completion(shell=chosen)
    except ShellDetectionError as error:
        raise UsageError(f"{option}: name the shell, one of {', '.join(get_args(Shell))}") from error
    except OSError as error:
        raise UsageError(f"{option}: {error.filename}: {error.strerror}") from error
    if option == "--show-completion":
        print(script)
        return 0
    print(f"The completion of aats is in {path}. It works in every shell that is opened from now on.")
    return 0


def whole_app() -> App:
    """Return one parser with all commands and their options."""
    root = App(name="aats", help_flags=("--help", "-h"), version_flags=())
    groups: dict[str, App] = {}
    for command in COMMANDS.values():
        *group, name = command.name.split()
        parent = root
        for word in group:
            if word not in groups:
                groups[word] = App(name=word, help_flags=("--help", "-h"), version_flags=())
                root.command(groups[word])
            parent = groups[word]
        parent.command(app_of(command, name))
    for flag in ("--version", "--install-completion", "--show-completion"):
        root.command(App(name=flag, help_flags=(), version_flags=()))
    return root
