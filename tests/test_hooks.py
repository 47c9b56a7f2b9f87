"""Observers are told what happens, and nothing they do reaches the team."""

from __future__ import annotations

import logging

import pytest

from aats_core import TeamInfo, hookimpl, hookspecs
from aats_core.errors import PluginBroken
from aats_core.hooks import Hooks


class Observer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    @hookimpl
    def team_started(self, info):
        self.told.append(info)

    @hookimpl
    def agent_crashed(self, restarts, agent):
        self.told.append((agent, restarts))


class Failing:
    @hookimpl
    def team_started(self):
        raise ValueError("observer failed")


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


INFO = TeamInfo("acme")


def test_an_observer_is_told_what_it_asks_for(hooks):
    observer = Observer()
    hooks.register(observer, "agents.a")

    hooks.notify(hookspecs.team_started, INFO)
    hooks.notify(hookspecs.agent_crashed, "build", ValueError(), 2)
    hooks.notify(hookspecs.team_stopping, INFO)

    assert observer.told == [INFO, ("build", 2)]


def test_observers_that_register_later_are_told_too_and_first(hooks):
    told = []

    class First(Observer):
        @hookimpl
        def team_started(self):
            told.append("first")

    class Second(Observer):
        @hookimpl
        def team_started(self):
            told.append("second")

    hooks.register(First(), "a")
    hooks.notify(hookspecs.team_started, INFO)
    hooks.register(Second(), "b")
    hooks.notify(hookspecs.team_started, INFO)

    assert told == ["first", "second", "first"]


def test_an_observer_that_raises_is_logged_by_name_and_harms_nobody(hooks, caplog):
    observer = Observer()
    hooks.register(observer, "agents.good")
    hooks.register(Failing(), "agents.bad")

    with caplog.at_level(logging.ERROR):
        hooks.notify(hookspecs.team_started, INFO)

    assert observer.told == [INFO]
    assert "agents.bad: its hook team_started failed" in caplog.text
    assert "observer failed" in caplog.text


def test_one_that_has_left_is_told_nothing_more(hooks):
    observer = Observer()
    hooks.register(observer, "agents.a")
    hooks.notify(hookspecs.team_started, INFO)

    hooks.unregister(observer)
    hooks.unregister(observer)
    hooks.notify(hookspecs.team_started, INFO)

    assert observer.told == [INFO]


def test_a_replacement_may_take_the_name_of_one_that_has_left(hooks):
    first, second = Observer(), Observer()
    hooks.register(first, "agents.a")
    hooks.unregister(first)

    hooks.register(second, "agents.a")
    hooks.notify(hookspecs.team_started, INFO)

    assert (first.told, second.told) == ([], [INFO])


def test_an_object_that_observes_nothing_is_left_alone(hooks):
    class Silent:
        @property
        def trap(self):
            raise AssertionError("nobody reads it")

    hooks.register(Silent(), "stores.primary")
    hooks.register(Silent(), "stores.primary")


def test_properties_of_an_observer_are_not_read(hooks):
    class Shy(Observer):
        @property
        def trap(self):
            raise AssertionError("nobody reads it")

    shy = Shy()
    hooks.register(shy, "integrations.shy")
    hooks.notify(hookspecs.team_started, INFO)

    assert shy.told == [INFO]


def refused(hooks, observer):
    with pytest.raises(PluginBroken) as caught:
        hooks.register(observer, "agents.bad")
    hooks.notify(hookspecs.team_started, INFO)
    return str(caught.value)


class TestWhatIsRefused:
    def test_a_hook_that_does_not_exist(self, hooks):
        class Bad:
            @hookimpl
            def team_startd(self): ...

        assert "agents.bad: its hooks cannot be used: unknown hook 'team_startd'" in refused(hooks, Bad())

    def test_an_argument_that_the_hook_does_not_tell(self, hooks):
        class Bad:
            @hookimpl
            def team_started(self, team): ...

        assert "team" in refused(hooks, Bad())

    def test_an_asynchronous_hook(self, hooks):
        class Bad:
            @hookimpl
            async def team_started(self): ...

        assert "team_started is called synchronously, it cannot be `async`" in refused(hooks, Bad())

    @pytest.mark.parametrize("option", ["wrapper", "hookwrapper"])
    def test_a_hook_that_wraps_others(self, hooks, option):
        class Bad:
            @hookimpl(**{option: True})
            def team_started(self):
                yield

        assert "team_started only observes, it cannot wrap others" in refused(hooks, Bad())

    def test_two_observers_of_one_name(self, hooks):
        hooks.register(Observer(), "agents.bad")

        assert "agents.bad" in refused(hooks, Observer())

    def test_a_refused_observer_is_told_nothing_and_the_others_still_are(self, hooks):
        class Bad(Observer):
            @hookimpl
            async def team_stopping(self): ...

        good, bad = Observer(), Bad()
        hooks.register(good, "agents.good")

        refused(hooks, bad)

        assert (good.told, bad.told) == ([INFO], [])
