"""Secrets that a team file does not hold but refers to: `{ env = "NAME" }` and `{ file = "path" }`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

_SIZE = 1024 * 1024


class SecretRef(msgspec.Struct, frozen=True):
    """Where a secret is to be read: its `source` is env or file, its `name` that of the variable or the file."""

    source: str
    name: str


def read_secret(ref: SecretRef, base: Path, environ: Mapping[str, str]) -> str:
    """Return a secret; a file's path is relative to `base`, and the newline at its end is no part of it.

    Raises `ValueError` that says what is in the way.
    """
    if ref.source == "env":
        if ref.name not in environ:
            raise ValueError(f"the environment variable {ref.name} is not set")
        return environ[ref.name]
    try:
        path = base / Path(ref.name).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the file {ref.name} cannot be found: {error}") from error
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {path} is not UTF-8 text") from error
    if len(content) > _SIZE:
        raise ValueError(f"the file {path} is larger than a secret may be ({_SIZE} bytes)")
    return text.removesuffix("\n").removesuffix("\r")


def mark_secrets(layer: Mapping[str, Any], named: Collection[str]) -> dict[str, Any]:
    """Return a layer with a `SecretRef` for each `{ env = … }` and `{ file = … }` that is the value of a field.

    `named` are the tables that hold a section for each name, where a field lies one level deeper."""
    return {
        table: (
            {name: _mark_fields(fields) for name, fields in content.items()}
            if table in named and isinstance(content, dict)
            else _mark_fields(content)
        )
        for table, content in layer.items()
    }


def _mark_fields(section: Any) -> Any:
    return {name: _mark(value) for name, value in section.items()} if isinstance(section, dict) else section


def _mark(value: Any) -> Any:
    if isinstance(value, list):
        return [_mark(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((source, name),) = value.items()
        if source in ("env", "file") and isinstance(name, str):
            return SecretRef(source, name)
    return {name: _mark(item) for name, item in value.items()}
