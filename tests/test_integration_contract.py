"""The contract suite of integrations passes what keeps the contract and fails, by name, what does not."""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar

import pytest
from pydantic import Field

from aats_core.health import Health, HealthStatus
from aats_core.integration import Integration
from aats_core.settings import IntegrationSettings
from aats_core.testing.integrations import IntegrationContract


class BeaconSettings(IntegrationSettings):
    place: Annotated[str, Field(description="Where it stands.")] = "harbour"


class Sea:
    """The other side."""

    def __init__(self) -> None:
        self.calm = True


class Beacon(Integration):
    """Shines, as long as the sea is calm."""

    Settings: ClassVar[type[IntegrationSettings]] = BeaconSettings

    def __init__(self, sea: Sea) -> None:
        self.sea = sea
        self.light: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.light = asyncio.create_task(asyncio.sleep(3600))

    async def stop(self) -> None:
        if self.light is not None:
            self.light.cancel()
            await asyncio.wait({self.light})

    async def health(self) -> Health:
        if self.sea.calm:
            return Health()
        return Health(HealthStatus.DOWN, "the sea is rough: wait")


class BeaconContract(IntegrationContract):
    made: ClassVar[type[Beacon]] = Beacon
    patience = 0.5

    def setup_method(self) -> None:
        self.sea = Sea()

    def make_integration(self) -> Integration:
        return self.made(self.sea)

    async def interrupt(self) -> None:
        self.sea.calm = False

    async def restore(self) -> None:
        self.sea.calm = True


class TestBeacon(BeaconContract):
    pass


class Undocumented(Beacon):
    pass


class Undescribed(Beacon):
    """Its setting says nothing."""

    class Settings(IntegrationSettings):
        place: str = ""


class Leaving(Beacon):
    """Leaves its task behind."""

    async def stop(self) -> None:
        pass


class Cheerful(Beacon):
    """Is always well."""

    async def health(self) -> Health:
        return Health()


class Silent(Beacon):
    """Does not say what is wrong."""

    async def health(self) -> Health:
        return Health(HealthStatus.OK if self.sea.calm else HealthStatus.DOWN)


class Doomed(Beacon):
    """Never recovers."""

    lost = False

    async def health(self) -> Health:
        self.lost = self.lost or not self.sea.calm
        return Health(HealthStatus.DOWN, "lost") if self.lost else Health()


class Raising(Beacon):
    """Its health raises before the start."""

    async def health(self) -> Health:
        if self.light is None:
            raise RuntimeError("not started")
        return await super().health()


class Once(Beacon):
    """Can be stopped only once, and only after a start."""

    async def stop(self) -> None:
        light, self.light = self.light, None
        if light is None:
            raise RuntimeError("stopped")
        light.cancel()


class Stubborn(Beacon):
    """Swallows the cancellation of its start."""

    async def start(self) -> None:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(1.5)


@pytest.mark.parametrize(
    ("made", "test"),
    [
        (Undocumented, "test_the_class_is_documented"),
        (Undescribed, "test_every_setting_is_described"),
        (Leaving, "test_it_is_well_once_started"),
        (Leaving, "test_stopping_twice_is_harmless"),
        (Cheerful, "test_health_says_what_is_wrong_and_ends_with_it"),
        (Silent, "test_health_says_what_is_wrong_and_ends_with_it"),
        (Doomed, "test_health_says_what_is_wrong_and_ends_with_it"),
        (Raising, "test_health_never_raises"),
        (Once, "test_stopping_twice_is_harmless"),
        (Once, "test_stopping_without_having_started_is_harmless"),
        (Stubborn, "test_a_cancelled_start_can_be_stopped"),
    ],
)
def test_what_breaks_the_contract_fails(made: type[Beacon], test: str) -> None:
    class Broken(BeaconContract):
        pass

    Broken.made = made
    broken = Broken()
    broken.setup_method()

    with pytest.raises((AssertionError, RuntimeError, TimeoutError)):
        getattr(broken, test)()


def test_an_outage_is_skipped_where_there_is_no_way_to_make_one() -> None:
    class Plain(IntegrationContract):
        def make_integration(self) -> Integration:
            return Beacon(Sea())

    with pytest.raises(pytest.skip.Exception, match="interrupt"):
        Plain().test_health_says_what_is_wrong_and_ends_with_it()
