"""The contract suite of brokers: subclass `BrokerContract`, say how to make the broker, and run it with pytest."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from aats_core.testing.brokers_dead_letters import DeadLetterPromises
from aats_core.testing.brokers_delivery import DeliveryPromises
from aats_core.testing.brokers_flow import FlowPromises
from aats_core.testing.brokers_model import BrokerMachine
from aats_core.testing.brokers_order import OrderPromises
from aats_core.testing.brokers_outage import OutagePromises
from aats_core.testing.brokers_publish import PublishPromises
from aats_core.testing.brokers_routing import RoutingPromises


class BrokerContract(
    PublishPromises,
    DeliveryPromises,
    DeadLetterPromises,
    RoutingPromises,
    OrderPromises,
    FlowPromises,
    OutagePromises,
):
    """Every promise of `Broker` as tests, which run against a real server.

    A subclass named `Test...` defines `make_broker`, and `interrupt` and `restore` unless it `lacks` promise 9.
    """

    def test_any_sequence_of_calls_keeps_the_promises(self) -> None:
        """Hold the broker against a model."""
        for number in (2, 3, 4, 5):
            self.skip_unless(number)
        contract = self

        class Machine(BrokerMachine):
            harness = contract

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=50,
                deadline=None,
                phases=[Phase.generate],  # a failing step waits for `patience`: making it smaller would take hours
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
