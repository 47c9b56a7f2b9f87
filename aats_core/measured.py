"""What stores can do, as the team uses it, whatever plugin it is: every call is counted and timed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from time import perf_counter
from typing import Any

from aats_core.metrics import StoreFigures
from aats_core.store import Capability


def measured(part: Capability, figures: StoreFigures) -> Iterator[Capability]:
    """Yield for each contract that a part keeps an object that keeps it too, passes everything on and counts it.

    What a plugin offers beyond the contracts is asked for by its own class, and not counted.
    """
    for contract in type(part).__mro__:
        if Capability in contract.__bases__ and inspect.isabstract(contract):
            yield _passing_on(contract)(part, figures)


@cache
def _passing_on(contract: type[Any]) -> type[Any]:
    """Return a class that keeps a contract by passing its calls on."""
    methods: dict[str, Any] = {"__init__": _remember, "__module__": __name__, "__slots__": ("figures", "inner")}
    for name in contract.__abstractmethods__:
        counts = inspect.iscoroutinefunction(getattr(contract, name))
        methods[name] = (_counted if counts else _passed_on)(name)
    return type(f"Measured{contract.__name__}", (contract,), methods)


def _remember(self: Any, inner: Capability, figures: StoreFigures) -> None:
    self.inner, self.figures = inner, figures


def _passed_on(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(self.inner, name)(*arguments, **options)

    return call


def _counted(name: str) -> Callable[..., Any]:
    async def call(self: Any, *arguments: Any, **options: Any) -> Any:
        begun = perf_counter()
        try:
            return await getattr(self.inner, name)(*arguments, **options)
        except Exception as error:
            self.figures.count_failure(name, type(error).__name__)
            raise
        finally:
            self.figures.latency(name).observe(perf_counter() - begun)

    return call
