"""The container gives every constructor what it asks for, or says what cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import pytest

from aats_core import (
    Agent,
    AgentSettings,
    Broker,
    BrokerSettings,
    Clock,
    GraphStore,
    Integration,
    IntegrationSettings,
    KeyValueStore,
    RealClock,
    RecordStore,
    Store,
    StoreSettings,
    TeamInfo,
    VectorStore,
    hookimpl,
    hookspecs,
)
from aats_core.container import Container
from aats_core.errors import PluginBroken, WiringError
from aats_core.hooks import Hooks
from aats_core.plugins import Plugin, PluginKind
from aats_core.secrets import remember
from aats_core.settings import TeamSection
from aats_core.team_file import Section, TeamFile

if TYPE_CHECKING:
    from decimal import Decimal

INFO, CLOCK = TeamInfo("acme"), RealClock()


def concrete(cls):
    """Make a class that can be built although it implements nothing: these tests only look at who gets what."""
    cls.__abstractmethods__ = frozenset()
    return cls


@concrete
class FakeBroker(Broker):
    def __init__(self, settings: BrokerSettings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock


@concrete
class Records(RecordStore): ...


@concrete
class Keys(KeyValueStore): ...


@concrete
class Graph(GraphStore): ...


class StoreBase(Store):
    offers: tuple[type, ...] = ()

    def __init__(self, settings: StoreSettings, info: TeamInfo) -> None:
        self.settings, self.info = settings, info
        self.parts = [offer() for offer in self.offers]

    @property
    def capabilities(self):
        return self.parts


@concrete
class RecordsOnly(StoreBase):
    offers = (Records,)


@concrete
class KeysOnly(StoreBase):
    offers = (Keys,)


@concrete
class Everything(StoreBase):
    offers = (Records, Keys, Graph)


@concrete
class Jira(Integration):
    def __init__(self, settings: IntegrationSettings) -> None:
        self.settings = settings


@concrete
class One(Integration):
    def __init__(self, two: Integration) -> None: ...


@concrete
class Two(Integration):
    def __init__(self, one: One) -> None: ...


def team(*, stores=None, integrations=None, agents=None, settings=None) -> TeamFile:
    """Return a team file with those classes by section name, as if it had been loaded."""
    default = {
        PluginKind.BROKER: BrokerSettings,
        PluginKind.STORE: StoreSettings,
        PluginKind.INTEGRATION: IntegrationSettings,
        PluginKind.AGENT: AgentSettings,
    }

    def section(kind: PluginKind, title: str, cls: type) -> Section:
        chosen = (settings or {}).get(title) or default[kind]()
        return Section(kind, title.rpartition(".")[2], title, Plugin(kind, "x", "acme", "1", "x:X"), cls, chosen)

    sections = [section(PluginKind.BROKER, "broker", FakeBroker)]
    for kind, classes in (
        (PluginKind.STORE, {"primary": RecordsOnly} if stores is None else stores),
        (PluginKind.INTEGRATION, integrations or {}),
        (PluginKind.AGENT, agents or {}),
    ):
        sections += [section(kind, f"{kind}s.{name}", cls) for name, cls in classes.items()]
    return TeamFile(Path("team.toml"), TeamSection(), tuple(sections))


def build(**parts) -> Container:
    return Container(team(**parts), hooks=Hooks(), shared=(INFO, CLOCK))


def asks(**annotations) -> type[Agent]:
    """Return an agent whose constructor asks for that by name; a tuple is an annotation and a default."""
    names = ", ".join(f"{n}=defaults['{n}']" if isinstance(a, tuple) else n for n, a in annotations.items())
    scope = {"defaults": {n: a[1] for n, a in annotations.items() if isinstance(a, tuple)}}
    exec(f"def __init__(self, {names}):\n    self.got = dict(locals())", scope)
    init = scope["__init__"]
    init.__annotations__ = {n: a[0] if isinstance(a, tuple) else a for n, a in annotations.items()}
    return type("Asking", (Agent,), {"__init__": init})


def given(cls: type[Agent], **parts):
    """Build that agent in a team of those parts and return what it got, and the container."""
    container = build(agents={"a": cls}, **parts)
    return {n: v for n, v in container.agent("a").got.items() if n != "self"}, container


def fault(**parts) -> str:
    with pytest.raises(WiringError) as caught:
        build(**parts)
    return str(caught.value)


class TestWhatIsGiven:
    def test_own_settings_and_what_the_team_shares(self):
        mine = AgentSettings(mailbox=3)

        got, container = given(
            asks(settings=AgentSettings, info=TeamInfo, clock=Clock, hooks=Hooks), settings={"agents.a": mine}
        )

        assert got == {"settings": mine, "info": INFO, "clock": CLOCK, "hooks": container.hooks}

    def test_its_very_own_model_of_settings(self):
        class Settings(AgentSettings):
            port: int = 1

        got, _ = given(asks(options=Settings), settings={"agents.a": Settings(port=7)})

        assert got["options"].port == 7

    def test_broker_and_stores_get_theirs_too(self):
        container = build()

        assert container.broker.clock is CLOCK
        assert container.stores["primary"].info is INFO

    def test_the_only_one_that_can_do_it_whatever_the_parameter_is_called(self):
        got, container = given(asks(anything=RecordStore), stores={"primary": RecordsOnly, "cache": KeysOnly})

        assert got["anything"] is container.capabilities["primary"][0]

    def test_several_things_of_one_store(self):
        got, container = given(asks(records=RecordStore, graph=GraphStore), stores={"primary": Everything})

        assert [got["records"], got["graph"]] == [container.capabilities["primary"][n] for n in (0, 2)]

    def test_the_store_whose_name_the_parameter_bears(self):
        stores = {"primary": Everything, "cache": KeysOnly, "audit-log": RecordsOnly}
        got, container = given(asks(cache=KeyValueStore, audit_log=RecordStore, primary=RecordStore), stores=stores)

        assert got["cache"] is container.capabilities["cache"][0]
        assert got["audit_log"] is container.capabilities["audit-log"][0]
        assert got["primary"] is container.capabilities["primary"][0]

    def test_the_broker_a_store_or_an_integration_by_its_class_or_contract(self):
        got, container = given(
            asks(broker=Broker, store=Store, exact=RecordsOnly, jira=Jira, other=Integration),
            integrations={"jira": Jira},
        )

        assert got["broker"] is container.broker
        assert got["store"] is got["exact"] is container.stores["primary"]
        assert got["jira"] is got["other"] is container.integrations["jira"]

    def test_a_store_that_is_its_own_capability_is_one_candidate(self):
        @concrete
        class Whole(StoreBase, RecordStore):
            capabilities = property(lambda self: [self])

        got, container = given(asks(records=RecordStore), stores={"primary": Whole})

        assert got["records"] is container.capabilities["primary"][0]

    def test_either_of_two_kinds(self):
        got, container = given(asks(store=GraphStore | KeyValueStore), stores={"primary": RecordsOnly, "c": KeysOnly})

        assert got["store"] is container.capabilities["c"][0]

    def test_annotations_that_say_more_count_for_their_type(self):
        got, container = given(asks(records=Annotated[RecordStore, "of the team"]))

        assert got["records"] is container.capabilities["primary"][0]


class TestWhatMayBeMissing:
    def test_an_optional_parameter_gets_none(self):
        got, _ = given(asks(vectors=VectorStore | None, jira=Jira | None))

        assert got == {"vectors": None, "jira": None}

    def test_an_optional_parameter_gets_what_there_is(self):
        got, container = given(asks(records=RecordStore | None))

        assert got["records"] is container.capabilities["primary"][0]

    def test_a_default_stays_where_nothing_fits(self):
        got, _ = given(asks(vectors=(VectorStore | None, "mine"), limit=(int, 3), free=(None, 4)))

        assert got == {"vectors": "mine", "limit": 3, "free": 4}

    def test_a_parameter_with_a_default_gets_what_there_is(self):
        got, _ = given(asks(clock=(Clock, None)))

        assert got["clock"] is CLOCK

    def test_a_class_without_a_constructor_needs_nothing(self):
        assert type(build(agents={"a": Agent}).agent("a")) is Agent

    def test_variable_parameters_are_left_alone(self):
        class Loose(Agent):
            def __init__(self, clock: Clock, *rest: int, **more: int) -> None:
                self.got = (clock, rest, more)

        assert build(agents={"a": Loose}).agent("a").got == (CLOCK, (), {})


class TestWhatCannotBeHad:
    def test_something_that_the_team_does_not_have(self):
        message = fault(agents={"a": asks(vectors=VectorStore)})

        assert message == (
            "[agents.a] Asking.__init__: parameter vectors: the team has no VectorStore; it has AgentSettings, Hooks, "
            "TeamInfo, RealClock, FakeBroker of [broker], RecordsOnly of [stores.primary], "
            "RecordStore of [stores.primary]"
        )

    def test_something_that_several_sections_have(self):
        stores = {"primary": Everything, "audit-log": RecordsOnly}

        message = fault(stores=stores, agents={"a": asks(records=RecordStore)})

        assert message == (
            "[agents.a] Asking.__init__: parameter records: RecordStore could be RecordStore of [stores.primary], "
            "RecordStore of [stores.audit-log]; give the parameter the name of the section it means: audit_log, primary"
        )

    def test_primary_does_not_win_by_its_name(self):
        stores = {"primary": RecordsOnly, "other": RecordsOnly}

        assert "could be" in fault(stores=stores, agents={"a": asks(records=RecordStore | None)})

    def test_a_parameter_without_annotation_or_with_one_that_means_nothing_here(self):
        def untyped(self, thing): ...

        agents = {
            "a": type("Untyped", (Agent,), {"__init__": untyped}),
            "b": asks(n=int),
            "c": asks(m=dict[str, Store]),
        }

        lines = fault(agents=agents).splitlines()

        assert "[agents.a] Untyped.__init__: parameter thing has no annotation" in lines[0]
        assert "parameter n: the team has no int" in lines[1]
        assert "parameter m: the team has no dict[str, aats_core.store.Store]" in lines[2]

    def test_a_protocol_that_cannot_be_checked(self):
        class Tracker(Protocol):
            site: str

        assert "the team has no Tracker" in fault(agents={"a": asks(tracker=Tracker)})

    def test_a_type_that_was_imported_for_type_checkers_only(self):
        class Late(Agent):
            def __init__(self, amount: Decimal) -> None: ...

        message = fault(agents={"a": Late})

        assert message.startswith("[agents.a] Late.__init__: name 'Decimal' is not defined; ")
        assert "not only under TYPE_CHECKING" in message

    def test_everything_is_reported_at_once(self):
        agents = {"a": asks(x=VectorStore, y=GraphStore), "b": asks(z=VectorStore)}

        assert [line.split(":")[1] for line in fault(agents=agents).splitlines()] == [
            " parameter x",
            " parameter y",
            " parameter z",
        ]

    def test_a_store_does_not_get_another_store(self):
        @concrete
        class Greedy(StoreBase):
            def __init__(self, settings: StoreSettings, records: RecordStore) -> None: ...

        assert "[stores.b] Greedy" in fault(stores={"primary": RecordsOnly, "b": Greedy})

    def test_nobody_gets_an_agent(self):
        assert "the team has no Agent" in fault(agents={"a": Agent, "b": asks(other=Agent)})


class TestIntegrations:
    def test_may_need_stores_and_each_other_and_come_in_that_order(self):
        @concrete
        class Gateway(Integration):
            def __init__(self, jira: Jira, records: RecordStore, broker: Broker) -> None:
                self.jira = jira

        container = build(integrations={"gateway": Gateway, "jira": Jira})

        assert list(container.integrations) == ["jira", "gateway"]
        assert container.integrations["gateway"].jira is container.integrations["jira"]

    def test_that_need_each_other_in_a_circle_are_refused(self):
        message = fault(integrations={"one": One, "two": Two})

        assert message.startswith("no order to build these in: [integrations.")
        assert message.count(" needs ") == 2

    def test_one_does_not_get_itself(self):
        @concrete
        class Lonely(Integration):
            def __init__(self, other: Integration | None) -> None:
                self.other = other

        assert build(integrations={"x": Lonely}).integrations["x"].other is None


class TestBuilding:
    def test_every_replica_is_an_instance_of_its_own_with_the_same_collaborators(self):
        container = build(agents={"a": asks(records=RecordStore)})

        one, two = container.agent("a"), container.agent("a")

        assert one is not two
        assert one.got["records"] is two.got["records"]

    def test_a_constructor_that_fails_is_named_and_shows_no_secret(self):
        remember("constructor-secret")

        @concrete
        class Failing(StoreBase):
            def __init__(self, settings: StoreSettings) -> None:
                raise OSError("no route for constructor-secret")

        with pytest.raises(PluginBroken) as caught:
            build(stores={"primary": Failing})

        assert str(caught.value) == (
            "[stores.primary] the constructor of Failing failed: OSError: no route for **********"
        )
        assert isinstance(caught.value.__cause__, OSError)

    def test_an_agent_that_cannot_be_built_leaves_the_container_usable(self):
        class Failing(Agent):
            def __init__(self) -> None:
                raise OSError("no")

        container = build(agents={"a": Failing, "b": Agent})

        with pytest.raises(PluginBroken, match=r"\[agents\.a\] the constructor of Failing failed"):
            container.agent("a")
        assert container.agent("b")

    def test_parts_observe_the_hooks_under_their_section(self, caplog):
        @concrete
        class Watching(StoreBase):
            @hookimpl
            def team_started(self, info):
                raise ValueError("seen")

        container = build(stores={"primary": Watching})
        container.hooks.notify(hookspecs.team_started, INFO)

        assert "stores.primary: its hook team_started failed" in caplog.text
