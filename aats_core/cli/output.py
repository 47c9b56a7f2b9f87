"""What commands print: tables fitted to a terminal, the same in full when piped, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

Row = Sequence[object]


def print_json(value: Any) -> None:
    """Print one JSON document."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_json_line(value: Any) -> None:
    """Print one JSON object in a line, at once."""
    import msgspec

    print(msgspec.json.encode(value).decode(), flush=True)


def print_table(heads: Sequence[str], rows: Iterable[Row]) -> None:
    """Print a table: cut to the width of a terminal, and complete, a row a line, where it is piped."""
    cells = [[_one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(heads, cells)
        return
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in (heads, *cells):
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console().print(table)


def console() -> Any:
    """Return a console that writes to stdout; colours are off where `NO_COLOR` is set or it is piped."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, legacy_windows=False)


STYLES = {
    "done": "green",
    "ok": "green",
    "failed": "bold red",
    "down": "bold red",
    "unknown": "bold magenta",
    "degraded": "yellow",
    "running": "cyan",
    "active": "cyan",
    "skipped": "dim",
    "cancelled": "yellow",
}
"""How states look on a terminal."""


def _one_line(value: object) -> str:
    return " ".join(str(value).split()) if value is not None else ""
