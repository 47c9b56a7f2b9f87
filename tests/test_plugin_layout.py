"""Plugins look alike: every directory of `plugins/` is read, and what strays from the common layout is named."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from aats_core.plugins import PluginKind, settings_model
from aats_core.team_reference import EMBEDDED
from aats_core.version import VERSION

ROOT = Path(__file__).parents[1]
CACHES = re.compile(r"__pycache__|\..*|dist|build|.*\.egg-info")


class Plugin(NamedTuple):
    """A directory of `plugins/`, and the names that follow from where it lies."""

    kind: PluginKind
    name: str
    path: Path

    @property
    def distribution(self) -> str:
        return f"aats-{self.kind}-{self.name}"

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def package(self) -> Path:
        return self.path / "src" / self.module

    @property
    def toml(self) -> dict[str, Any]:
        return tomllib.loads((self.path / "pyproject.toml").read_text())

    @property
    def cls(self) -> type[Any]:
        (target,) = self.toml["project"]["entry-points"][self.kind.group].values()
        module, _, name = target.partition(":")
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    @property
    def readme(self) -> str:
        return (self.path / "README.md").read_text()


PLUGINS = [
    Plugin(PluginKind(directory.parent.name.removesuffix("s")), directory.name, directory)
    for directory in sorted(ROOT.glob("plugins/*/*"))
    if not CACHES.fullmatch(directory.name)
]

Rule = Callable[[Plugin], Iterator[str]]


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir() if not CACHES.fullmatch(entry.name)}


def _sources(plugin: Plugin) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(plugin.package.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


# The rules: each yields what strays.


def has_the_same_files(plugin: Plugin) -> Iterator[str]:
    if _names(plugin.path) != {"README.md", "pyproject.toml", "src", "tests"}:
        yield f"beside pyproject.toml, README.md, src and tests: {sorted(_names(plugin.path))}"
    if _names(plugin.path / "src") != {plugin.module}:
        yield f"src holds {sorted(_names(plugin.path / 'src'))}, not {plugin.module} alone"
    missing = {"__init__.py", "settings.py", "py.typed"} - _names(plugin.package)
    if missing:
        yield f"{plugin.module} lacks {sorted(missing)}"


def has_tests_of_the_contract(plugin: Plugin) -> Iterator[str]:
    found = _names(plugin.path / "tests")
    if "test_contract.py" not in found:
        yield "tests lack test_contract.py"
    odd = sorted(name for name in found if not re.fullmatch(r"test_\w+\.py|conftest\.py", name))
    if odd:
        yield f"tests hold what is no test: {odd}"


def keeps_its_class_in_the_module_of_its_kind(plugin: Plugin) -> Iterator[str]:
    home = plugin.cls.__module__.rpartition(".")[2]
    if home != plugin.kind:
        yield f"{plugin.cls.__name__} stands in {home}.py, not in {plugin.kind}.py"


def has_the_same_pyproject(plugin: Plugin) -> Iterator[str]:
    own, lines = plugin.toml["project"], len((plugin.path / "pyproject.toml").read_text().splitlines())
    common = {
        "build-system": {"requires": ["hatchling>=1.27"], "build-backend": "hatchling.build"},
        "project": {
            "name": plugin.distribution,
            "version": VERSION,
            "description": own["description"],
            "readme": "README.md",
            "license": "Apache-2.0",
            "requires-python": ">=3.11",
            "dependencies": own["dependencies"],
            "entry-points": own["entry-points"],
        },
        "tool": {"hatch": {"build": {"targets": {"wheel": {"packages": [f"src/{plugin.module}"]}}}}},
    }
    if plugin.toml != common:
        yield f"pyproject.toml differs from the common one in {sorted(_differences(plugin.toml, common))}"
    if lines > 30:
        yield f"pyproject.toml has {lines} lines"
    if "aats-core" not in own["dependencies"]:
        yield "pyproject.toml does not depend on aats-core"


def _differences(one: object, other: object, place: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{place}.{key}".strip("."))
    elif one != other:
        yield place


def has_one_entry_point_named_as_its_directory(plugin: Plugin) -> Iterator[str]:
    points = plugin.toml["project"]["entry-points"]
    if {group: list(names) for group, names in points.items()} != {plugin.kind.group: [plugin.name]}:
        yield f"its entry points are {points}, not {plugin.name} in {plugin.kind.group}"
    if not all(target.partition(":")[0] == plugin.module for names in points.values() for target in names.values()):
        yield f"its entry point does not lead to {plugin.module} itself"


def has_a_readme_with_every_setting(plugin: Plugin) -> Iterator[str]:
    readme = plugin.readme
    if not readme.startswith(f"# {plugin.distribution}\n\n"):
        yield f"README.md does not begin with the title {plugin.distribution}"
    if len(re.findall(r"^## ", readme, flags=re.MULTILINE)) < 2 or "\n## Settings\n" not in readme:
        yield "README.md has no section Settings, or nothing beside it"
    if not re.search(r"^## (Limits|What to know)$", readme, flags=re.MULTILINE):
        yield "README.md does not say under Limits, or What to know, what it does not do"
    if "```toml\n" not in readme:
        yield "README.md shows no section of a team file"
    settings = settings_model(plugin.kind, plugin.cls)
    missing = [name for name in vars(settings).get("__annotations__", ()) if f"`{name}`" not in readme]
    if missing:
        yield f"README.md does not tell of the settings {missing}"


def has_a_documented_class(plugin: Plugin) -> Iterator[str]:
    if not vars(plugin.cls).get("__doc__"):
        yield f"{plugin.cls.__name__} has no docstring of its own"


def has_described_settings(plugin: Plugin) -> Iterator[str]:
    model = settings_model(plugin.kind, plugin.cls)
    if "Settings" not in vars(plugin.cls) or model.__module__ != f"{plugin.module}.settings":
        yield f"{plugin.cls.__name__}.Settings is not a model of settings.py"
    yield from (f"{place} has no description" for place in _undescribed(model))


def _undescribed(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not field.description:
            yield f"{model.__name__}.{name}"
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from _undescribed(field.annotation)


def has_an_init_that_only_re_exports(plugin: Plugin) -> Iterator[str]:
    tree = ast.parse((plugin.package / "__init__.py").read_text())
    for node in tree.body[1:]:
        exports = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not exports and not isinstance(node, ast.ImportFrom):
            yield f"__init__.py:{node.lineno} does more than re-export"
    if ast.get_docstring(tree) is None:
        yield "__init__.py has no docstring"
    if plugin.cls.__name__ not in getattr(importlib.import_module(plugin.module), "__all__", ()):
        yield f"__init__.py does not name {plugin.cls.__name__} in __all__"


def imports_only_public_names_of_the_kernel(plugin: Plugin) -> Iterator[str]:
    for path, tree in _sources(plugin):
        for name in _imports(tree):
            parts = name.split(".")
            if parts[0] == "aats_core" and any(part.startswith("_") for part in parts):
                yield f"{path.name} imports the private {name}"
            if name.startswith(("aats_core.cli", "aats_core.testing")):
                yield f"{path.name} imports {name}, which is not there for plugins at work"


def imports_no_other_plugin(plugin: Plugin) -> Iterator[str]:
    others = {other.module for other in PLUGINS} - {plugin.module}
    for path, tree in _sources(plugin):
        yield from (f"{path.name} imports {name}" for name in _imports(tree) if name.partition(".")[0] in others)


RULES: list[Rule] = [
    has_the_same_files,
    has_tests_of_the_contract,
    keeps_its_class_in_the_module_of_its_kind,
    has_the_same_pyproject,
    has_one_entry_point_named_as_its_directory,
    has_a_readme_with_every_setting,
    has_a_documented_class,
    has_described_settings,
    has_an_init_that_only_re_exports,
    imports_only_public_names_of_the_kernel,
    imports_no_other_plugin,
]

STRAYS: dict[tuple[str, Rule], str] = {}
"""Which plugin may stray from which rule, and why; an entry that is no longer needed fails."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.distribution)
def test_every_plugin(plugin, rule):
    strays = list(rule(plugin))

    if (plugin.distribution, rule) in STRAYS:
        assert strays, f"{plugin.distribution} no longer strays; take it out of STRAYS"
    else:
        assert not strays, f"{plugin.path.relative_to(ROOT)}: {'; '.join(strays)}"


def test_only_plugins_and_rules_that_exist_are_excused():
    assert {plugin for plugin, _ in STRAYS} <= {plugin.distribution for plugin in PLUGINS}
    assert {rule for _, rule in STRAYS} <= set(RULES)


class TestTheRootNamesEveryPlugin:
    """A new plugin has to be named in each of these places."""

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    distributions = sorted(plugin.distribution for plugin in PLUGINS)
    modules = sorted(plugin.module for plugin in PLUGINS)

    def _group(self, name: str) -> Iterator[str]:
        for entry in self.project["dependency-groups"][name]:
            if isinstance(entry, dict):
                yield from self._group(entry["include-group"])
            else:
                yield entry

    def test_in_requirements_txt(self):
        lines = (ROOT / "requirements.txt").read_text().splitlines()

        assert sorted(line for line in lines if line.startswith("-e plugins/")) == [
            f"-e {plugin.path.relative_to(ROOT)}" for plugin in sorted(PLUGINS, key=lambda plugin: plugin.path)
        ]

    def test_in_requirements_txt_with_all_of_the_group_dev(self):
        lines = (ROOT / "requirements.txt").read_text().splitlines()
        group = [entry for entry in self._group("dev") if entry not in self.distributions]

        assert group.pop(0) == "aats-core[embedded,testing]"
        assert "-e .[embedded,testing]" in lines
        assert sorted(line for line in lines if line and line[0] not in "-#") == sorted(group)

    def test_in_the_group_of_plugins_unless_embedded(self):
        embedded = set(self.project["project"]["optional-dependencies"]["embedded"])

        assert list(self._group("plugins")) == sorted(set(self.distributions) - embedded)

    def test_in_the_sources_of_uv(self):
        sources = self.project["tool"]["uv"]["sources"]

        assert sorted(sources) == sorted([*self.distributions, "aats-core"])
        assert all(source == {"workspace": True} for source in sources.values())

    def test_in_the_contracts_of_import_linter(self):
        linter = self.project["tool"]["importlinter"]
        independent, forbidden, *_ = linter["contracts"]

        assert sorted(linter["root_packages"]) == sorted([*self.modules, "aats_core"])
        assert sorted(independent["modules"]) == self.modules
        assert sorted(forbidden["forbidden_modules"]) == self.modules

    def test_in_the_embedded_extra_if_it_needs_no_server(self):
        embedded = {f"aats-{kind}-{name}" for kind, names in EMBEDDED.items() for name in names}

        assert set(self.project["project"]["optional-dependencies"]["embedded"]) == embedded
        assert embedded <= set(self.distributions)

    def test_with_the_version_of_the_kernel(self):
        assert self.project["project"]["version"] == VERSION
