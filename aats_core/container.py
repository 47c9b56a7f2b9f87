"""The dependency-injection container: builds what a team file names, each part with what its constructor asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from dependency_injector import containers, providers

from aats_core.agent import Agent
from aats_core.broker import Broker
from aats_core.errors import PluginBroken, WiringError
from aats_core.hooks import Hooks
from aats_core.integration import Integration
from aats_core.measured import measured
from aats_core.metrics import StoreFigures
from aats_core.secrets import redact
from aats_core.store import Capability, Store
from aats_core.team_file import Section, TeamFile
from aats_core.wiring import Offer, choose, parameters


class Container:
    """The parts of a team, built and given to each other, but not yet connected to anything nor started.

    A constructor may ask for its own settings, for the hooks and what else is `shared` (`TeamInfo`, `Clock` and
    the like), and, if it is an integration's or an agent's, for the broker, stores, what stores can do, and
    integrations. Each part observes the hooks under the title of its section, except agents.

    Raises `WiringError` with all that cannot be had, and `PluginBroken` where a constructor fails.
    """

    def __init__(self, team_file: TeamFile, *, hooks: Hooks, shared: Iterable[object] = ()) -> None:
        self.hooks = hooks
        self._providers = containers.DynamicContainer()
        self._sections = {section.title: section for section in team_file.sections}
        offers = [Offer("", type(value), providers.Object(value)) for value in (hooks, *shared)]

        self._declare([team_file.broker, *team_file.stores.values()], providers.Singleton)
        self._wire([team_file.broker, *team_file.stores.values()], offers)
        self.broker: Broker = self._build(team_file.broker)
        """The broker."""
        self.stores: Mapping[str, Store] = {name: self._build(s) for name, s in team_file.stores.items()}
        """The stores by name, as the file orders them."""
        self.store_figures = {name: StoreFigures() for name in self.stores}
        """What is asked of each store."""
        self.capabilities: Mapping[str, Sequence[Capability]] = {
            name: [each for part in store.capabilities for each in measured(part, self.store_figures[name])]
            for name, store in self.stores.items()
        }
        """What each store can do, every call counted."""

        integrations = list(team_file.integrations.values())
        self._declare(integrations, providers.Singleton)
        self._declare(team_file.agents.values(), providers.Factory)
        offers += self._backends(team_file)
        offers += [Offer(section.title, section.cls, self._provider(section)) for section in integrations]
        needs = self._wire([*integrations, *team_file.agents.values()], offers)
        self.integrations: Mapping[str, Integration] = {
            section.name: self._build(section) for section in _sorted(integrations, needs)
        }
        """The integrations by name, each after those it was given."""

    def agent(self, name: str) -> Agent:
        """Build a new instance of the agent of that section; raises `PluginBroken` where its constructor fails."""
        agent: Agent = self._make(self._sections[f"agents.{name}"])
        return agent

    def _declare(self, sections: Iterable[Section], provider: Callable[[type[Any]], Any]) -> None:
        for section in sections:
            self._providers.set_provider(section.title, provider(section.cls))

    def _provider(self, section: Section) -> Any:
        return self._providers.providers[section.title]

    def _backends(self, team_file: TeamFile) -> list[Offer]:
        """Return what the broker and the stores offer: themselves, and what each store can do.

        Of what fits the same wish the last counts, so that only who asks for a plugin's own class gets it uncounted.
        """
        offers = [Offer("broker", type(self.broker), providers.Object(self.broker))]
        for name, store in self.stores.items():
            parts = (store, *store.capabilities, *self.capabilities[name])
            offers += [Offer(team_file.stores[name].title, type(part), providers.Object(part)) for part in parts]
        return offers

    def _wire(self, sections: Iterable[Section], offers: Sequence[Offer]) -> dict[str, set[str]]:
        """Tell each section's provider what to give the constructor, and return which sections each one needs."""
        needs: dict[str, set[str]] = {}
        faults: list[str] = []
        for section in sections:
            own = Offer("", type(section.settings), providers.Object(section.settings))
            chosen, found = _choose([own, *(offer for offer in offers if offer.section != section.title)], section)
            self._provider(section).add_kwargs(
                **{name: offer.provider if offer else None for name, offer in chosen.items()}
            )
            needs[section.title] = {offer.section for offer in chosen.values() if offer}
            faults += found
        if faults:
            raise WiringError("\n".join(faults))
        return needs

    def _build(self, section: Section) -> Any:
        part = self._make(section)
        self.hooks.register(part, section.title)
        return part

    def _make(self, section: Section) -> Any:
        try:
            return self._provider(section)()
        except (Exception, SystemExit) as error:
            what = redact(f"{type(error).__name__}: {error}")
            raise PluginBroken(f"[{section.title}] the constructor of {section.cls.__name__} failed: {what}") from error


def _choose(offers: Sequence[Offer], section: Section) -> tuple[dict[str, Offer | None], list[str]]:
    """Return what a section's constructor gets, by parameter, and what cannot be had for it."""
    chosen: dict[str, Offer | None] = {}
    faults: list[str] = []
    try:
        wanted = parameters(section.cls)
    except WiringError as error:
        return chosen, [f"[{section.title}] {error}"]
    for parameter in wanted:
        try:
            offer = choose(parameter, offers)
        except WiringError as error:
            faults.append(f"[{section.title}] {section.cls.__name__}.__init__: {error}")
            continue
        if offer is not None or not parameter.default:
            chosen[parameter.name] = offer
    return chosen, faults


def _sorted(sections: Sequence[Section], needs: Mapping[str, set[str]]) -> list[Section]:
    """Return sections so that each comes after those it needs."""
    by_title = {section.title: section for section in sections}
    graph = {title: sorted(needs[title] & by_title.keys()) for title in by_title}
    try:
        return [by_title[title] for title in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        circle = " needs ".join(f"[{title}]" for title in reversed(error.args[1]))
        raise WiringError(f"no order to build these in: {circle}") from error
