"""Plugins: found by their entry points without importing any, and imported one by one when a team file names them."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core.errors import PluginBroken, PluginNotFound

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from aats_core.settings import PluginSettings


class PluginKind(StrEnum):
    """What a plugin offers; the plural is its table in a team file, and `group` where its entry point stands."""

    AGENT = "agent"
    STORE = "store"
    BROKER = "broker"
    INTEGRATION = "integration"

    @property
    def group(self) -> str:
        """The entry-point group of such plugins."""
        return f"aats.{self}s"


class Plugin(msgspec.Struct, frozen=True, order=True):
    """An installed plugin: `name` is what a team file writes after `plugin =`, `target` is `module:Class`."""

    kind: PluginKind
    name: str
    distribution: str
    version: str
    target: str


class Catalog:
    """The plugins that are installed, and in `problems` what is wrong with some of them; nothing is imported yet."""

    def __init__(self, plugins: Iterable[Plugin], problems: Iterable[str] = ()) -> None:
        self.plugins: Sequence[Plugin] = tuple(sorted(plugins))
        self._problems = tuple(problems)

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Distributions whose metadata cannot be read, and names that two distributions offer: a line for each."""
        names = dict.fromkeys((plugin.kind, plugin.name) for plugin in self.plugins)
        rivals = [(kind, name, self._named(kind, name)) for kind, name in names]
        return (*self._problems, *(_rivalry(kind, name, offers) for kind, name, offers in rivals if len(offers) > 1))

    def of_kind(self, kind: PluginKind) -> list[Plugin]:
        """Return the plugins of a kind, by name."""
        return [plugin for plugin in self.plugins if plugin.kind is kind]

    def find(self, kind: PluginKind, name: str) -> Plugin:
        """Return the plugin of that kind and name without importing it.

        Raises `PluginNotFound` with the command that would install it, and `PluginBroken` where two
        distributions offer it.
        """
        offers = self._named(kind, name)
        if not offers:
            raise PluginNotFound(self._missing(kind, name))
        if len(offers) > 1:
            raise PluginBroken(_rivalry(kind, name, offers))
        return offers[0]

    def load(self, kind: PluginKind, name: str) -> type[Any]:
        """Import the plugin of that kind and name, and no other, and return its class.

        Raises as `find` does, and `PluginBroken` with the reason and its place where the import fails or finds
        something that is not a complete class of that kind.
        """
        plugin = self.find(kind, name)
        found = _import(plugin)
        fault = _fault(kind, found)
        if fault:
            raise PluginBroken(f"{_describe(plugin)}: {plugin.target} {fault}")
        return found  # type: ignore[no-any-return]  # `_fault` has found it to be a class

    def _named(self, kind: PluginKind, name: str) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.kind is kind and plugin.name == name]

    def _missing(self, kind: PluginKind, name: str) -> str:
        names = dict.fromkeys(plugin.name for plugin in self.of_kind(kind))
        near = difflib.get_close_matches(name, names, n=3)
        hint = f" (near: {', '.join(near)})" if near else ""
        return f"no {kind} plugin {name!r} is installed{hint}; to install it: pip install aats-{kind}-{name}"


def discover(path: Sequence[str] | None = None) -> Catalog:
    """Return the plugins of the distributions on that path (`sys.path` by default), read from their metadata.

    Of a distribution that lies there twice the first counts, as it does for imports.
    """
    from importlib.metadata import distributions

    found = distributions() if path is None else distributions(path=list(path))
    plugins: list[Plugin] = []
    problems: list[str] = []
    seen: set[str] = set()
    for distribution in found:
        try:
            plugins += _offered(distribution, seen)
        except Exception as error:  # noqa: BLE001 - reported; the metadata of others is none the worse for it
            place = getattr(distribution, "_path", "a distribution")
            problems.append(f"{place}: its metadata cannot be read ({type(error).__name__}: {error}); reinstall it")
    return Catalog(plugins, problems)


def _offered(distribution: Distribution, seen: set[str]) -> list[Plugin]:
    text = distribution.read_text("entry_points.txt")
    if not text or "aats." not in text:
        return []
    metadata = distribution.metadata
    for field in ("Name", "Version"):
        if field not in metadata:
            raise ValueError(f"it has no {field}")
    name, version = metadata["Name"], metadata["Version"]
    normal = name.lower().replace("_", "-").replace(".", "-")
    if normal in seen:
        return []
    seen.add(normal)
    kinds = {kind.group: kind for kind in PluginKind}
    return [
        Plugin(kinds[entry.group], entry.name, name, version, entry.value)
        for entry in distribution.entry_points
        if entry.group in kinds
    ]


def settings_model(kind: PluginKind, cls: type[Any]) -> type[PluginSettings]:
    """Return the model of a plugin's section: the class's attribute `Settings`, or what every such section may hold."""
    model: type[PluginSettings] = getattr(cls, "Settings", _bases(kind)[1])
    return model


def _import(plugin: Plugin) -> Any:
    from importlib.metadata import EntryPoint

    entry = EntryPoint(plugin.name, plugin.target, plugin.kind.group)
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}{_place(error, plugin)}"
        raise PluginBroken(f"{_describe(plugin)} cannot be imported: {reason}") from error


def _place(error: BaseException, plugin: Plugin) -> str:
    """Say in which line of the plugin it happened, or failing that in which line at all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" (at {error.filename}:{error.lineno})"
    package = re.split(r"\W", plugin.target, maxsplit=1)[0]
    frames = [
        (frame.f_globals.get("__name__", ""), f"{frame.f_code.co_filename}:{line}")
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [place for module, place in frames if f"{module}.".startswith(f"{package}.")]
    other = [place for module, place in frames if not module.startswith(("importlib", __name__))]
    return f" (at {(own or other)[-1]})" if own or other else ""


def _fault(kind: PluginKind, found: object) -> str:
    base, settings = _bases(kind)
    if not inspect.isclass(found) or not issubclass(found, base):
        return f"is not a subclass of {base.__module__}.{base.__name__}"
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        return f"does not implement {', '.join(missing)}"
    model = settings_model(kind, found)
    if not inspect.isclass(model) or not issubclass(model, settings):
        return f"has a `Settings` that is not a subclass of {settings.__module__}.{settings.__name__}"
    return ""


def _bases(kind: PluginKind) -> tuple[type, type[PluginSettings]]:
    from aats_core import settings
    from aats_core.agent import Agent
    from aats_core.broker import Broker
    from aats_core.integration import Integration
    from aats_core.store import Store

    bases: dict[PluginKind, tuple[type, type[PluginSettings]]] = {
        PluginKind.AGENT: (Agent, settings.AgentSettings),
        PluginKind.STORE: (Store, settings.StoreSettings),
        PluginKind.BROKER: (Broker, settings.BrokerSettings),
        PluginKind.INTEGRATION: (Integration, settings.IntegrationSettings),
    }
    return bases[kind]


def _describe(plugin: Plugin) -> str:
    return f"{plugin.kind} plugin {plugin.name!r} ({plugin.distribution} {plugin.version})"


def _rivalry(kind: PluginKind, name: str, offers: Sequence[Plugin]) -> str:
    who = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in offers)
    return f"{kind} plugin {name!r} is offered by {who}; uninstall all but one"
