"""The contract suite of integrations: subclass `IntegrationContract`, say how to make one, and run it with pytest."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from aats_core.health import Health, HealthStatus
from aats_core.integration import Integration
from aats_core.settings import IntegrationSettings
from aats_core.testing.leftovers import nothing_left

Scenario = Callable[[Integration], Awaitable[None]]


class IntegrationContract(ABC):
    """What every integration has to do, as tests.

    A subclass named `Test...` defines `make_integration`, and `interrupt` and `restore` where the other side can be
    taken away.
    """

    patience: ClassVar[float] = 10.0
    """Seconds that a test waits for what has to happen."""

    @abstractmethod
    def make_integration(self) -> Integration:
        """Return a new integration, not started, whose other side can be reached."""

    async def interrupt(self) -> None:
        """Make the other side unreachable."""
        pytest.skip("this contract test has no way to take the other side away: interrupt() is not defined")

    async def restore(self) -> None:
        """Make the other side reachable again, and return once it is; needed with `interrupt`."""
        raise NotImplementedError

    def test_the_class_is_documented(self) -> None:
        """`aats plugins` and the reference show it."""
        cls = type(self.make_integration())
        assert cls.__dict__.get("__doc__"), f"{cls.__name__} needs a docstring of its own"

    def test_every_setting_is_described(self) -> None:
        """The reference of the team file is made from the descriptions."""
        settings = getattr(type(self.make_integration()), "Settings", IntegrationSettings)
        assert issubclass(settings, IntegrationSettings)
        bare = [name for name, field in settings.model_fields.items() if not field.description]
        assert not bare, f"settings without a description: {', '.join(bare)}"

    def test_it_is_well_once_started(self) -> None:
        """The other side can be reached, so it says so."""

        async def scenario(integration: Integration) -> None:
            health = await self._health(integration)
            assert health.status is HealthStatus.OK, health.detail

        self._play(scenario)

    def test_health_never_raises(self) -> None:
        """Not even before the start and after the stop."""

        async def life() -> None:
            integration = self.make_integration()
            assert isinstance(await self._health(integration), Health)
            await self._within(integration.start())
            await self._within(integration.stop())
            assert isinstance(await self._health(integration), Health)

        self._run(life)

    def test_health_says_what_is_wrong_and_ends_with_it(self) -> None:
        """An outage is told in words for the operator, and over by itself once the other side is back."""

        async def scenario(integration: Integration) -> None:
            await self.interrupt()
            try:
                sick = await self._health(integration)
            finally:
                await self.restore()
            assert sick.status is not HealthStatus.OK, "it says that it is well, and the other side is away"
            assert sick.detail, "its health does not say what is wrong"
            async with asyncio.timeout(self.patience):
                while (await self._health(integration)).status is not HealthStatus.OK:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)

        self._play(scenario)

    def test_stopping_twice_is_harmless(self) -> None:
        """As where a stop was interrupted."""
        self._play(lambda integration: self._within(integration.stop()))

    def test_stopping_without_having_started_is_harmless(self) -> None:
        """As where its own start, or that of another part, has failed."""
        self._run(lambda: self._within(self.make_integration().stop()))

    def test_a_cancelled_start_can_be_stopped(self) -> None:
        """As where a signal ends the team while it starts."""

        async def life() -> None:
            integration = self.make_integration()
            starting = asyncio.ensure_future(integration.start())
            await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait({starting}, timeout=self.patience)
            assert starting.done(), f"the start goes on {self.patience:g} s after it was cancelled"
            await self._within(integration.stop())
            if not starting.cancelled():
                starting.result()

        self._run(life)

    def _play(self, scenario: Scenario) -> None:
        """Run a scenario on a started integration and stop it."""

        async def life() -> None:
            integration = self.make_integration()
            try:
                await self._within(integration.start())
                await scenario(integration)
            finally:
                await self._within(integration.stop())

        self._run(life)

    def _run(self, life: Callable[[], Awaitable[None]]) -> None:
        """Run something and see that no task, thread or process of it is left."""

        async def watched() -> None:
            await life()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left running after the integration has stopped: {left}"

        with nothing_left(self.patience):
            asyncio.run(watched())

    async def _health(self, integration: Integration) -> Health:
        async with asyncio.timeout(self.patience):
            return await integration.health()

    async def _within(self, work: Awaitable[None]) -> None:
        async with asyncio.timeout(self.patience):
            await work
