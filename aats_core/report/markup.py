"""HTML and SVG, escaped: whatever text a task or its output holds, it stays text."""

from __future__ import annotations

import html
import re
import time

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_VISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: "\u2421",
    **dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd"),
    **{
        code: f"[U+{code:04X}]"  # they change the direction of what follows, and so can make text look like other text
        for code in [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    },
}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def clean(value: object) -> str:
    """Return text without terminal colours, and with every other control character made visible."""
    text = str(value).replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return _ESCAPE_SEQUENCE.sub("", text).translate(_VISIBLE)


def text(value: object) -> Markup:
    """Return text as HTML that shows it."""
    return value if isinstance(value, Markup) else Markup(html.escape(clean(value)))


def join(*parts: object) -> Markup:
    """Return the parts one after the other, each escaped unless it is markup."""
    return Markup("".join(map(text, parts)))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; an attribute that is None or False is left out, one that is True has no value.

    Of an attribute's name a trailing underscore is dropped, and others become hyphens; floats get two decimals.
    """
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{head}>{join(*children)}</{name}>")


def _attribute(value: object) -> str:
    if value is True:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return text(value)


def duration(seconds: float) -> str:
    """Return a length of time for people: `850 ms`, `12.3 s`, `4 m 05 s`, `3 h 20 m`, `2 d 4 h`."""
    if seconds < 0.0005:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(unix: float) -> str:
    """Return a Unix time as date and time of day, in UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))
    except (OverflowError, OSError, ValueError):
        return f"{unix:.0f} (Unix seconds)"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 task`, `3 tasks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
