"""`aats new`: writes a plugin in a package of its own, from the templates beside this package."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template
from typing import Annotated

import msgspec
from cyclopts import Parameter

from aats_core.cli.failure import UsageError
from aats_core.plugins import PluginKind
from aats_core.version import VERSION

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 36
_TAKEN = frozenset({"aats", "aats_core", "test", "tests", *sys.stdlib_module_names})
_SUFFIX = ".tmpl"


class Package(msgspec.Struct, frozen=True):
    """The names of a plugin: of its distribution, its module, its entry point and its class."""

    kind: PluginKind
    distribution: str
    module: str
    plugin: str
    class_name: str

    @property
    def fields(self) -> Mapping[str, str]:
        """What the templates speak of."""
        article = "An" if self.kind[0] in "ai" else "A"
        return {
            **{name: str(value) for name, value in msgspec.structs.asdict(self).items()},
            "summary": f"{article} {self.kind} for AATS teams: {self.plugin}.",
            "version": VERSION,
        }


def new(
    kind: Annotated[PluginKind, Parameter(help="What the plugin is to be.")],
    name: Annotated[str, Parameter(help="Its distribution's name, such as acme-registry.")],
    /,
    *,
    directory: Annotated[Path, Parameter(help="Where its folder is made.")] = Path(),
) -> None:
    """Write a new plugin: a package of its own, with its settings, its entry point and its contract tests.

    In a team file it is called what follows the first dash of its name: acme-registry is the plugin registry.
    """
    package = plan_package(kind, name)
    target = directory / name
    write_package(package, target)
    print(f"{target}: {kind} plugin {package.plugin}, class {package.module}.{package.class_name}")
    print(f"next: cd {target}, pip install -e '.[test]', pytest")


def plan_package(kind: PluginKind, name: str) -> Package:
    """Return the names of the plugin's parts; raises `UsageError` where the name cannot be used."""
    fault = _fault(name)
    if fault:
        raise UsageError(f"{name!r} cannot be the name of a plugin: {fault}")
    plugin = name.removeprefix(f"aats-{kind}-")
    plugin = plugin if plugin != name else name.partition("-")[2] or name
    ending = kind.capitalize() if kind in (PluginKind.STORE, PluginKind.BROKER) else ""
    words = "\n".join(text for _, text in _templates(kind))
    for stem in (plugin, name):
        class_name = f"{''.join(part.capitalize() for part in stem.split('-'))}{ending}"
        if class_name[0].isalpha() and not re.search(rf"\b{class_name}(Settings)?\b", words):
            return Package(kind, name, name.replace("-", "_"), plugin, class_name)
    raise UsageError(f"{name!r} cannot be the name of a plugin: {class_name} is the name of something in aats_core")


def _fault(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        return f"use up to {_LONGEST} small letters and digits, in words with one dash between, such as acme-registry"
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        return f"{module} is a word of Python; put your organisation's name before it, such as acme-{name}"
    if module in _TAKEN or PathFinder.find_spec(module) is not None:
        return f"there is a module {module} already; put your organisation's name before it, such as acme-{name}"
    return ""


def write_package(package: Package, target: Path) -> None:
    """Write all files of the plugin into a new folder, or nothing; raises `UsageError` where that cannot be."""
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already; choose another name or --directory, or move it away")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is not a directory; make it, or choose another --directory")
    try:
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            for path, text in _templates(package.kind):
                _write(part / path.replace("/module/", f"/{package.module}/"), text, package)
            part.chmod(0o755)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}; nothing was") from error


def _write(path: Path, text: str, package: Package) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Template(text).substitute(package.fields), encoding="utf-8", newline="\n")


def _templates(kind: PluginKind) -> Iterator[tuple[str, str]]:
    """Yield the path, within the package, and the text of each file."""
    root = files("aats_core") / "_template"
    for folder in ("common", kind.value):
        for path, file in _walk(root / folder, PurePosixPath()):
            yield str(path).removesuffix(_SUFFIX), file.read_text("utf-8")


def _walk(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield path / entry.name, entry
