"""Messages within one process: request and reply, one way, and idle agents, beside autogen-core and bare asyncio."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler
from rounds import measure, show

from aats_core.agent import Agent
from aats_core.handlers import on
from aats_core.hooks import Hooks
from aats_core.runtime import Runtime

CALLS = 10_000
AGENTS = 10_000


@dataclass
class Note:
    text: str


class Echo(Agent):
    """Answers with what it is told."""

    heard = 0

    @on("echo")
    async def echo(self, note: Note) -> Note:
        """Answer."""
        return note

    @on("note")
    async def note(self, note: Note) -> None:
        """Count."""
        Echo.heard += 1


class PeerEcho(RoutedAgent):
    heard = 0

    def __init__(self) -> None:
        super().__init__("Answers with what it is told")

    @message_handler
    async def echo(self, message: Note, ctx: MessageContext) -> Note:
        PeerEcho.heard += 1
        return message


async def _our_runtime() -> Runtime:
    runtime = Runtime(hooks=Hooks())
    await runtime.start()
    await runtime.add("echo", Echo).start()
    return runtime


async def _peer_runtime() -> SingleThreadedAgentRuntime:
    runtime = SingleThreadedAgentRuntime()
    await PeerEcho.register(runtime, "echo", PeerEcho)
    runtime.start()
    return runtime


async def _cpu(call: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU microseconds of one awaited call."""
    for _ in range(200):
        await call()
    began = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - began) / CALLS * 1e6


async def request_ours() -> float:
    runtime, note = await _our_runtime(), Note("x")
    cost = await _cpu(lambda: runtime.request("echo", "echo", note))
    await runtime.hosts["echo"].stop()
    await runtime.stop()
    return cost


async def request_peer() -> float:
    runtime, note, echo = await _peer_runtime(), Note("x"), AgentId("echo", "default")
    cost = await _cpu(lambda: runtime.send_message(note, echo))
    await runtime.stop()
    return cost


async def request_bare() -> float:
    """Return the cost of a queue, a task and a future: what any answer from another task takes."""
    queue: asyncio.Queue[asyncio.Future[int]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def serve() -> None:
        while True:
            (await queue.get()).set_result(1)

    async def call() -> None:
        future: asyncio.Future[int] = loop.create_future()
        queue.put_nowait(future)
        await future

    server = asyncio.create_task(serve())
    cost = await _cpu(call)
    server.cancel()
    return cost


async def one_way_ours() -> float:
    runtime, note = await _our_runtime(), Note("x")
    Echo.heard = 0
    began = time.process_time()
    for _ in range(CALLS):
        await runtime.send("echo", "note", note)
    while Echo.heard < CALLS:
        await asyncio.sleep(0)
    cost = (time.process_time() - began) / CALLS * 1e6
    await runtime.hosts["echo"].stop()
    await runtime.stop()
    return cost


async def one_way_peer() -> float:
    runtime, note, echo = await _peer_runtime(), Note("x"), AgentId("echo", "default")
    PeerEcho.heard = 0
    began = time.process_time()
    sent = [asyncio.ensure_future(runtime.send_message(note, echo)) for _ in range(CALLS)]
    while PeerEcho.heard < CALLS:
        await asyncio.sleep(0)
    cost = (time.process_time() - began) / CALLS * 1e6
    await asyncio.gather(*sent)
    await runtime.stop()
    return cost


async def idle_ours() -> float:
    runtime = Runtime(hooks=Hooks())
    began = time.perf_counter()
    for number in range(AGENTS):
        await runtime.add(f"agent-{number}", Echo).start()
    return (time.perf_counter() - began) * 1e3


async def idle_peer() -> float:
    runtime = SingleThreadedAgentRuntime()
    began = time.perf_counter()
    await PeerEcho.register(runtime, "echo", PeerEcho)
    for number in range(AGENTS):
        await runtime.try_get_underlying_agent_instance(AgentId("echo", str(number)))
    return (time.perf_counter() - began) * 1e3


async def memory_ours() -> float:
    runtime = Runtime(hooks=Hooks())
    await runtime.add("first", Echo).start()
    tracemalloc.start()
    for number in range(AGENTS):
        await runtime.add(f"agent-{number}", Echo).start()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / AGENTS


async def tail() -> tuple[float, float]:
    """Return the median and the 99th percentile of a request's duration, in microseconds."""
    runtime, note = await _our_runtime(), Note("x")
    spans = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await runtime.request("echo", "echo", note)
        spans.append((time.perf_counter() - began) * 1e6)
    await runtime.hosts["echo"].stop()
    await runtime.stop()
    cuts = statistics.quantiles(spans, n=100)
    return cuts[49], cuts[98]


def run(case: Callable[[], Awaitable[float]]) -> Callable[[], float]:
    def once() -> float:
        gc.collect()
        return asyncio.run(case())  # type: ignore[arg-type]

    return once


def main() -> None:
    requests = {
        "AATS": run(request_ours),
        "autogen-core": run(request_peer),
        "bare queue and future": run(request_bare),
    }
    peers = {"autogen-core": "<= 0.083", "bare queue and future": "(limit)"}
    show("request and reply, CPU per call", "µs", measure(requests), ours="AATS", peers=peers)
    p50, p99 = asyncio.run(tail())
    show("request and reply, wall time", "µs", {"p99": p99, "p50": p50}, ours="p99", peers={"p50": "<= 2"})
    one_way = {"AATS": run(one_way_ours), "autogen-core": run(one_way_peer)}
    show("one way, CPU per message", "µs", measure(one_way), ours="AATS", peers={"autogen-core": "<= 0.033"})
    idle = {"AATS": run(idle_ours), "autogen-core": run(idle_peer)}
    show(f"{AGENTS:,} idle agents", "ms", measure(idle), ours="AATS", peers={"autogen-core": "(<= 60 ms)"})
    figures = measure({"AATS": run(memory_ours)})
    show("an idle agent", "bytes", figures, ours="AATS", peers={})


if __name__ == "__main__":
    main()
