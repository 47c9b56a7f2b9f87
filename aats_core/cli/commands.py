"""Which commands there are. This table answers `aats --help` alone, so it imports nothing."""

from __future__ import annotations


class Command:
    """A command: its name (one word or two), where its function is, what follows it, and one line on what it does."""

    __slots__ = ("function", "module", "name", "summary", "usage")

    def __init__(self, name: str, module: str, function: str, usage: str, summary: str) -> None:
        self.name = name
        self.module = f"aats_core.cli.{module}"
        self.function = function
        self.usage = usage
        self.summary = summary


GROUPS: tuple[tuple[str, tuple[Command, ...]], ...] = (
    (
        "Set up",
        (
            Command("check", "check", "check", "FILE", "Say what a team file makes of a team, and what is wrong"),
            Command("plugins", "plugins", "plugins", "", "List the plugins that are installed"),
            Command("config schema", "config", "schema", "", "Print the JSON Schema of a team file"),
            Command("config show", "config", "show", "FILE", "Print a team file with everything that it leaves out"),
            Command("new", "new", "new", "KIND NAME", "Write a new agent, store, broker or integration"),
        ),
    ),
    (
        "Migrate what the stores hold",
        (
            Command("migrate status", "migrate", "status", "FILE", "Say which steps were applied, and which were not"),
            Command("migrate plan", "migrate", "plan", "FILE", "Say what `up` would do, and change nothing"),
            Command("migrate up", "migrate", "up", "FILE", "Carry out the steps that were not"),
            Command("migrate down", "migrate", "down", "FILE", "Revert steps, the last first"),
        ),
    ),
    (
        "Run",
        (
            Command("run", "run", "run", "FILE", "Run a team: until its --plan is done, or until stopped"),
            Command("simulate", "simulate", "simulate", "PLAN", "Say how long a plan would take with so many workers"),
        ),
    ),
    (
        "A running team",
        (
            Command("submit", "submit", "submit", "PLAN", "Hand a plan to the team"),
            Command("plans", "plans", "plans", "", "List the plans, newest first"),
            Command("tasks", "tasks", "tasks", "[PLAN]", "List the tasks of a plan, or of all"),
            Command("task", "tasks", "task", "ID", "Show a task, and why it waits"),
            Command("agents", "status", "agents", "", "List the agents and what they do"),
            Command("status", "status", "status", "", "Say how the team is"),
            Command("metrics", "status", "metrics", "", "Print the team's figures for Prometheus"),
            Command("cancel", "change", "cancel", "ID", "Cancel a task or a plan"),
            Command("retry", "change", "retry", "ID", "Run a failed task again, or all of a plan"),
            Command("settle", "change", "settle", "ID done|failed", "Decide what became of a task in state unknown"),
            Command("drain", "change", "drain", "", "Let running tasks finish, then stop the team"),
            Command("topics", "messages", "topics", "", "List the topics: who consumes them, and what waits"),
            Command("dlq list", "messages", "dlq_list", "[TOPIC]", "List the messages that nobody could handle"),
            Command("dlq show", "messages", "dlq_show", "ID", "Show a dead letter with its message"),
            Command("dlq edit", "messages", "dlq_edit", "ID", "Give a dead letter's message another payload"),
            Command("dlq replay", "messages", "dlq_replay", "ID …", "Publish dead letters again"),
            Command("dlq purge", "messages", "dlq_purge", "ID …", "Delete dead letters"),
            Command("report", "report", "report", "PLAN", "Write a report on a plan as an HTML page"),
        ),
    ),
)

COMMANDS = {command.name: command for _, commands in GROUPS for command in commands}


def commands_below(word: str) -> tuple[Command, ...]:
    """Return the commands of two words that begin with that one."""
    return tuple(command for command in COMMANDS.values() if command.name.startswith(f"{word} "))


def overview_below(word: str) -> str:
    """Return the help of the commands of two words that begin with that one."""
    commands = commands_below(word)
    width = max(len(f"{command.name} {command.usage}") for command in commands) + 2
    lines = [f"Usage: aats {word} COMMAND …", "", *_lines(commands, width)]
    return "\n".join([*lines, "", f"`aats {word} COMMAND --help` says what one takes."])


def overview() -> str:
    """Return the help of `aats` itself."""
    width = max(len(f"{command.name} {command.usage}") for command in COMMANDS.values()) + 2
    lines = [
        "Usage: aats COMMAND …",
        "",
        "Runs a team of agents that carry out plans of work without losing any of it.",
    ]
    for title, commands in GROUPS:
        lines += ["", f"{title}:", *_lines(commands, width)]
    lines += [
        "",
        "Options:",
        f"  {'-h, --help':<{width}}Print this, or after a command what it takes",
        f"  {'--version':<{width}}Print the version",
        f"  {'--install-completion':<{width}}Complete commands and options in this shell",
        f"  {'--show-completion':<{width}}Print the script that does so",
    ]
    return "\n".join(lines)


def _lines(commands: tuple[Command, ...], width: int) -> list[str]:
    return [f"  {f'{command.name} {command.usage}':<{width}}{command.summary}" for command in commands]
