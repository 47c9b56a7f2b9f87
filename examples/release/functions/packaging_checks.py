"""Checks of a built wheel, called as functions: of its metadata, and of the licences of what it needs."""

import re
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9.]+)?")
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_RESTRICTIVE = re.compile(r"\b(?:A?GPL|SSPL|BUSL|Commons Clause|proprietary)\b", re.IGNORECASE)
_FREER = re.compile(r"\bLGPL|\bOR\b|classpath|linking exception", re.IGNORECASE)


class CheckFailed(Exception):
    """Something is wrong with what was checked; the message has a line for each problem."""


def check_metadata(wheel: str) -> dict[str, Any]:
    """Return name, version and licence of a wheel; raises `CheckFailed` where its metadata is not fit for a release."""
    metadata = _metadata(wheel)
    name, version = metadata["Name"] or "", metadata["Version"] or ""
    licence = _licence(metadata)
    faults = {
        f"the name {name!r} is not valid": not _NAME.fullmatch(name),
        f"the version {version!r} is not valid": not _VERSION.fullmatch(version),
        "there is no summary: set project.description": not metadata["Summary"],
        "there is no licence: set project.license": licence == "unknown",
        "there is no readme: set project.readme": not (metadata["Description"] or metadata.get_payload()),
        "it does not say which Python it needs: set project.requires-python": not metadata["Requires-Python"],
    }
    problems = [problem for problem, found in faults.items() if found]
    if problems:
        raise CheckFailed("\n".join(problems))
    notes = [] if ".dev" not in version else ["this is a development version"]
    return {
        "summary": f"{name} {version}, {licence}, Python {metadata['Requires-Python']}",
        "problems": [],
        "notes": notes,
        "name": name,
        "version": version,
        "license": licence,
    }


def check_licences(wheel: str) -> dict[str, Any]:
    """Return the licences of everything the wheel needs, directly or not, as far as it is installed here.

    Raises `CheckFailed` where one of them asks for more than most releases can give.
    """
    found = dict(_needed(_metadata(wheel)))
    strict = {n: text for n, text in found.items() if _RESTRICTIVE.search(text) and not _FREER.search(text)}
    if strict:
        raise CheckFailed("\n".join(f"{name}: its licence is {text}" for name, text in strict.items()))
    unknown = [name for name, text in found.items() if text == "unknown"]
    return {
        "summary": f"{len(found)} packages, {len({*found.values()})} licences",
        "problems": [],
        "notes": [f"the licence of {name} is not known" for name in unknown],
        "licences": found,
    }


def _metadata(wheel: str) -> Message:
    with zipfile.ZipFile(Path(wheel)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode("utf-8"))


def _needed(metadata: Message) -> Iterator[tuple[str, str]]:
    """Yield the name and the licence of every requirement that is installed; extras are not followed."""
    seen: set[str] = set()
    waiting = [metadata]
    while waiting:
        for text in waiting.pop().get_all("Requires-Dist") or ():
            match = _REQUIREMENT.match(text)
            if match is None or "extra ==" in text or match[0].lower() in seen:
                continue
            seen.add(match[0].lower())
            try:
                below = distribution(match[0]).metadata
            except PackageNotFoundError:
                continue
            yield match[0], _licence(below)
            waiting.append(below)  # type: ignore[arg-type]  # an email message all the same


def _licence(metadata: Any) -> str:
    expression = metadata["License-Expression"] or metadata["License"]
    if expression and "\n" not in expression.strip():
        return str(expression).strip()
    named = [text.rsplit(" :: ", 1)[-1] for text in metadata.get_all("Classifier") or () if text.startswith("License ")]
    return " OR ".join(named) or ("see its text" if expression else "unknown")
