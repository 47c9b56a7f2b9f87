"""What commands print: tables fitted to a terminal, the same in full when piped, or JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from aats_core.cli.words import clean

if TYPE_CHECKING:
    from rich.console import Console

Row = Sequence[object]

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

_GAP = 2
_LEAST = 6  # columns that even a narrow terminal gives to each


def print_json(value: Any) -> None:
    """Print one JSON document, in which no field is left out."""
    print(msgspec.json.format(msgspec.json.encode(as_data(value)), indent=2).decode())


def print_json_line(value: Any) -> None:
    """Print one JSON document in one line, at once."""
    print(msgspec.json.encode(as_data(value)).decode(), flush=True)


def as_data(value: Any) -> Any:
    """Return what JSON can hold of a value: of a structure every field, also those that its wire form leaves out."""
    if isinstance(value, msgspec.Struct):
        return {name: as_data(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    return value


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, and an empty line after them; lines of a long value stand below each other."""
    texts = [(name, _value(value)) for name, value in facts]
    width = max(len(name) for name, _ in texts) + 2
    for name, text in texts:
        first, *more = text.splitlines() or [""]
        print(f"{name:<{width}}{first}")
        for line in more:
            print(f"{'':<{width}}{line}")
    print()


def print_table(heads: Sequence[str], rows: Iterable[Row], *, wrap: bool = False) -> None:
    """Print a table: on a terminal cut to its width (or with `wrap` folded) and without columns that hold nothing.

    Where piped it is complete, a row a line, with a dash for a cell that holds nothing, so that every line has as many.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        used = [index for index in range(len(heads)) if index == 0 or not cells or any(row[index] for row in cells)]
        _print_rich([heads[index] for index in used], [[row[index] for index in used] for row in cells], wrap=wrap)
        return
    cells = [[cell or "-" for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in (heads, *cells):
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(heads: Sequence[str], rows: Sequence[Sequence[str]], *, wrap: bool) -> None:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    terminal = console()
    natural = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    widths = fit_widths(natural, terminal.width - _GAP * (len(heads) - 1))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for head, width in zip(heads, widths, strict=True):
        table.add_column(head, width=width, overflow="fold" if wrap else "ellipsis", no_wrap=not wrap)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    terminal.print(table)


def fit_widths(natural: Sequence[int], room: int) -> list[int]:
    """Return the widths of columns that fit into so much room: the widest give way, the first, an id, last of all."""
    first, *others = natural
    cap = max(others, default=0)
    while cap > _LEAST and first + sum(min(width, cap) for width in others) > room:
        cap -= 1
    fitted = [min(width, cap) for width in others]
    return [max(min(first, room - sum(fitted)), _LEAST), *fitted]


def console(file: TextIO | None = None) -> Console:
    """Return a console that writes to stdout or that file; colours are off where `NO_COLOR` is set or it is piped."""
    from rich.console import Console

    return Console(file=file, highlight=False, markup=False, emoji=False)


def one_line(value: object) -> str:
    """Return a value as one line that does nothing to a terminal."""
    return " ".join(clean(value).split()) if value is not None else ""


def silence() -> None:
    """Send everything that is still to be printed nowhere: its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _value(value: object) -> str:
    if isinstance(value, str | int | float):
        return clean(value)
    return clean(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
