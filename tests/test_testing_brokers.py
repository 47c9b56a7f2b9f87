"""The contract suite of brokers is held against brokers that each break one promise: it has to notice."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from aats_core.testing.brokers import BrokerContract
from aats_core.testing.brokers_harness import BrokerHarness
from tests.brokers import careless_delivery, careless_order
from tests.brokers.remote import RemoteBroker, RemoteContract

CARELESS: list[type[RemoteBroker]] = [
    broker
    for module in (careless_delivery, careless_order)
    for broker in vars(module).values()
    if "failing" in getattr(broker, "__dict__", ()) and broker.__module__ == module.__name__
]


class TestRemoteBroker(RemoteContract):
    """The honest one passes, so what the careless ones fail is their own fault."""

    timeout = 0.5  # a busy machine needs more than careless brokers get


@pytest.mark.parametrize(
    ("broker", "test"),
    [pytest.param(broker, test, id=f"{broker.__name__}-{test}") for broker in CARELESS for test in broker.failing],
)
def test_a_careless_broker_fails(broker: type[RemoteBroker], test: str) -> None:
    contract = type("Contract", (RemoteContract,), {"broker": broker, "patience": 0.1, "examples": 500})()
    contract.setup_method()
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - however it fails, pytest shows it as a failure
        getattr(contract, test)()
    assert not isinstance(caught.value, KeyboardInterrupt | pytest.skip.Exception | NotImplementedError | NameError)


def test_no_contract_test_lets_every_broker_pass() -> None:
    caught = {test for broker in CARELESS for test in broker.failing}
    assert {name for name in dir(BrokerContract) if name.startswith("test_")} == caught


def test_every_promise_has_a_test() -> None:
    tests = [getattr(BrokerContract, name) for name in dir(BrokerContract) if name.startswith("test_")]
    assert {getattr(test, "promise", None) for test in tests} == {None, *range(1, 10)}


def test_a_promise_that_a_broker_lacks_is_skipped_with_the_reason() -> None:
    class Lacking(RemoteContract):
        lacks: ClassVar = {6: "it knows no urgency"}

    with pytest.raises(pytest.skip.Exception, match="promise 6: it knows no urgency"):
        Lacking().test_the_most_urgent_of_what_waits_comes_first()


def test_a_contract_test_can_be_overridden_only_to_say_that_it_fails() -> None:
    name = "test_a_time_in_the_past_is_now"

    def replacement(self: RemoteContract) -> None:
        """Test nothing."""

    for silenced in (replacement, pytest.mark.xfail(strict=True)(replacement)):
        with pytest.raises(TypeError, match=f"Silenced.{name}"):
            type("Silenced", (RemoteContract,), {name: silenced})
    type("Excused", (RemoteContract,), {name: pytest.mark.xfail(reason="its clock is late")(replacement)})


def test_a_scenario_that_hangs_is_ended_with_a_complaint() -> None:
    class Hanging(RemoteBroker):
        async def connect(self) -> None:
            await self.server.notes.setdefault("never", asyncio.Future())

    contract = type("Contract", (RemoteContract,), {"broker": Hanging, "patience": 0.05})()
    contract.setup_method()
    with pytest.raises(AssertionError, match=r"connect\(\) did not return within 0.05 s"):
        contract.test_a_time_in_the_past_is_now()


def test_a_broker_has_to_be_made_by_the_subclass() -> None:
    with pytest.raises(TypeError, match="make_broker"):
        type("Contract", (BrokerHarness,), {})()
