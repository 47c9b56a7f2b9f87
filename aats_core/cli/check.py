"""`aats check`: what a team file comes to, before a team is run from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from aats_core.cli.failure import BAD_INPUT, NO_TEAM, say
from aats_core.cli.options import Json, Overrides, TeamFilePath
from aats_core.cli.output import print_json, print_table

if TYPE_CHECKING:
    from aats_core.team_check import ShownSetting


def check(
    file: TeamFilePath,
    /,
    *,
    set: Overrides = None,
    timeout: Annotated[float, Parameter(help="Seconds that each part has to answer.")] = 10.0,
    json: Json = False,
) -> int:
    """Say in one table what each section of a team file comes to, and whether what it names can be reached.

    The exit code is 0 if a team can be expected to start from it, 2 if the file is wrong, and 3 if only something
    cannot be reached.
    """
    import logging

    from aats_core.log import Logging
    from aats_core.secrets import redact
    from aats_core.team_check import check_team_file

    with Logging(level=logging.WARNING, console_level=logging.CRITICAL + 1, redact=redact):  # the table says it all
        report = asyncio.run(check_team_file(file, overrides=set or (), timeout=timeout))
    if json:
        print_json(report)
    else:
        rows = [
            (row.section, row.plugin, row.version, row.status, _settings_of(row.settings), row.detail)
            for row in report.rows
        ]
        print_table(("SECTION", "PLUGIN", "VERSION", "STATUS", "SET", "DETAIL"), rows, wrap=True)
        for problem in report.problems:
            say(problem)
    if report.problems:
        return BAD_INPUT
    return 0 if report.good else NO_TEAM


def _settings_of(settings: tuple[ShownSetting, ...]) -> str:
    given = [
        f"{setting.name}={msgspec.json.encode(setting.value).decode()}" for setting in settings if not setting.default
    ]
    return " ".join(given)
