"""The team's own figures as Prometheus metrics, put together only when somebody scrapes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aats_core.host import AgentHost
from aats_core.metrics import BOUNDS, BrokerFigures, Histogram, StoreFigures

Figure = Callable[[AgentHost], float]

_COUNTERS: Mapping[str, tuple[str, Figure]] = {
    "aats_messages_failed": ("Attempts to handle a message that failed.", lambda host: host.figures.failed),
    "aats_messages_dead": ("Messages given up as dead letters.", lambda host: host.figures.dead),
    "aats_agent_restarts": ("Restarts after a crash.", lambda host: host.restarts),
}

_GAUGES: Mapping[str, tuple[str, Figure]] = {
    "aats_mailbox_waiting": ("Messages that wait in the agent's mailbox.", lambda host: len(host.mailbox)),
    "aats_agent_up": ("Whether the agent runs.", lambda host: float(host.status == "running")),
    "aats_tasks_running": (
        "Tasks that the agent runs.",
        lambda host: len(host.worker.running) if host.worker is not None else 0,
    ),
}


class RuntimeCollector(Collector):
    """Tells Prometheus of every agent of this process, each metric with the label `agent`."""

    def __init__(self, hosts: Mapping[str, AgentHost]) -> None:
        self._hosts = hosts

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        for name, (text, figure) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["agent"])
            for host in self._hosts.values():
                counter.add_metric([host.name], figure(host))
            yield counter
        for name, (text, figure) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["agent"])
            for host in self._hosts.values():
                gauge.add_metric([host.name], figure(host))
            yield gauge
        yield self._latency()

    def _latency(self) -> HistogramMetricFamily:
        text = "Seconds that message handlers took; its count is the messages handled."
        family = HistogramMetricFamily("aats_handler_seconds", text, labels=["agent"])
        for host in self._hosts.values():
            histogram = host.figures.latency
            family.add_metric([host.name], _buckets(histogram), histogram.total)
        return family


_BROKER_COUNTERS: Mapping[str, tuple[str, Callable[[BrokerFigures], float]]] = {
    "aats_broker_published": ("Messages that the broker confirmed.", lambda figures: figures.published),
    "aats_broker_delivered": ("Messages handed out by the broker.", lambda figures: figures.delivered),
    "aats_broker_redelivered": ("Of those, not for the first time.", lambda figures: figures.redelivered),
    "aats_broker_acknowledged": ("Deliveries settled as handled.", lambda figures: figures.acknowledged),
    "aats_broker_returned": ("Deliveries given back to the broker.", lambda figures: figures.returned),
    "aats_broker_dead": ("Messages that this process made dead letters.", lambda figures: figures.dead),
}


class BrokerCollector(Collector):
    """Tells Prometheus of the broker's traffic in this process, and of what waits there for the whole team."""

    def __init__(self, figures: BrokerFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        figures = self._figures
        for name, (text, figure) in _BROKER_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=figure(figures))
        yield GaugeMetricFamily("aats_broker_held", "Deliveries that are not settled yet.", value=figures.held)
        text = "Seconds from the making of a message to its delivery."
        yield HistogramMetricFamily(
            "aats_broker_latency_seconds", text, buckets=_buckets(figures.latency), sum_value=figures.latency.total
        )
        yield from self._topics()

    def _topics(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("aats_topic_waiting", "Messages that wait.", labels=["topic", "group"])
        consumers = GaugeMetricFamily("aats_topic_consumers", "Consumers of a group.", labels=["topic", "group"])
        dead = GaugeMetricFamily("aats_topic_dead_letters", "Dead letters of a topic.", labels=["topic"])
        for status in self._figures.topics:
            dead.add_metric([status.topic], status.dead)
            for group in status.groups:
                waiting.add_metric([status.topic, group.name], group.waiting)
                consumers.add_metric([status.topic, group.name], group.consumers)
        yield from (waiting, consumers, dead)


class StoreCollector(Collector):
    """Tells Prometheus what this process asked of the stores, each metric with the labels `store` and `operation`."""

    def __init__(self, figures: Mapping[str, StoreFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        text = "Seconds that operations of a store took; its count is the operations."
        seconds = HistogramMetricFamily("aats_store_seconds", text, labels=["store", "operation"])
        failed = CounterMetricFamily("aats_store_failed", "Those that failed.", labels=["store", "operation", "error"])
        for store, figures in self._figures.items():
            for operation, histogram in list(figures.latencies.items()):
                seconds.add_metric([store, operation], _buckets(histogram), histogram.total)
            for (operation, error), count in list(figures.failures.items()):
                failed.add_metric([store, operation, error], count)
        yield from (seconds, failed)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the cumulative counts that Prometheus wants, by upper bound."""
    total, buckets = 0, []
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
