"""`aats plugins`: what is installed, read from the packages' metadata without importing any of them."""

from __future__ import annotations

from aats_core.cli.failure import say
from aats_core.cli.options import Json
from aats_core.cli.output import print_json, print_table
from aats_core.plugins import discover


def plugins(*, json: Json = False) -> None:
    """List the plugins that are installed: their kind, their name in a team file, and where they come from."""
    catalog = discover()
    if json:
        print_json({"plugins": catalog.plugins, "problems": catalog.problems})
        return
    rows = [(p.kind, p.name, p.distribution, p.version) for p in catalog.plugins]
    print_table(("KIND", "NAME", "DISTRIBUTION", "VERSION"), rows)
    for problem in catalog.problems:
        say(problem)
