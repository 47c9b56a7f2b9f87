"""The observers of a team: who has registered for the hooks of `aats_core.hookspecs`, and how they are told."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVarTuple

import pluggy

from aats_core import hookspecs
from aats_core.errors import PluginBroken

log = logging.getLogger(__name__)

Ts = TypeVarTuple("Ts")

_Call = tuple[str, Callable[..., object], tuple[int, ...]]


class Hooks:
    """Tells observers what happens in the team; what one of them raises is logged and reaches nobody else."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._calls: dict[str, list[_Call]] = {}

    def register(self, observer: object, name: str) -> None:
        """Let an object's methods marked `@hookimpl` observe from now on; without any, nothing happens.

        Raises `PluginBroken` where one of them names no hook, asks for what the hook does not tell, is
        asynchronous, or wants to wrap the others.
        """
        if not _marked(type(observer)):
            return
        try:
            self._manager.register(observer, name)
            self._manager.check_pending()
            self._refuse_unfit(observer)
        except (pluggy.PluginValidationError, ValueError) as error:
            self.unregister(observer)
            raise PluginBroken(f"{name}: its hooks cannot be used: {error}") from error
        self._calls.clear()

    def unregister(self, observer: object) -> None:
        """Tell an object nothing more; harmless where it was told nothing before."""
        if self._manager.is_registered(observer):
            self._manager.unregister(observer)
            self._calls.clear()

    def notify(self, hook: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Call every observer of a hook, the latest registered first: `notify(hookspecs.team_started, info)`."""
        name = hook.__name__
        for observer, function, positions in self._observers(hook):
            try:
                function(*[arguments[position] for position in positions])
            except Exception:
                log.exception("%s: its hook %s failed", observer, name)

    def heard(self, hook: Callable[..., None]) -> bool:
        """Tell whether anybody observes a hook; where what it tells is costly to put together, ask first."""
        return bool(self._observers(hook))

    def _observers(self, hook: Callable[..., None]) -> list[_Call]:
        calls = self._calls.get(hook.__name__)
        if calls is None:
            calls = self._calls[hook.__name__] = self._resolve(hook.__name__, hook)
        return calls

    def _resolve(self, name: str, hook: Callable[..., None]) -> list[_Call]:
        order = list(inspect.signature(hook).parameters)
        return [
            (found.plugin_name, found.function, tuple(order.index(argument) for argument in found.argnames))
            for found in reversed(self._caller(name).get_hookimpls())
        ]

    def _refuse_unfit(self, observer: object) -> None:
        for caller in self._manager.get_hookcallers(observer) or ():
            for found in caller.get_hookimpls():
                if found.plugin is not observer:
                    continue
                if found.wrapper or found.hookwrapper:
                    raise ValueError(f"{caller.name} only observes, it cannot wrap others")
                if inspect.iscoroutinefunction(found.function):
                    raise ValueError(f"{caller.name} is called synchronously, it cannot be `async`")

    def _caller(self, name: str) -> Any:
        return getattr(self._manager.hook, name)


def _marked(cls: type) -> bool:
    mark = f"{hookspecs.PROJECT}_impl"
    return any(hasattr(inspect.getattr_static(cls, name, None), mark) for name in dir(cls))
