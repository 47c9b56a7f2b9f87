"""The team's own figures as Prometheus metrics, put together only when somebody scrapes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aats_core.host import AgentHost
from aats_core.metrics import BOUNDS, Histogram

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


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the cumulative counts that Prometheus wants, by upper bound."""
    total, buckets = 0, []
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
