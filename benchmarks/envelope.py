"""Decoding and encoding an envelope of 1 KB: ours, pydantic, and bare msgspec with a raw payload.

    python benchmarks/envelope.py [--rounds 3] [--json]

In every round the three take turns in short bursts, and each one's best burst counts: what else the machine does
then hits none of them. The medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import timeit
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic

from aats_core.message import Message, decode, encode

SIZE = 1024
BURST, TURNS = 500, 50
LIMIT = 1.2
"""How much longer than bare msgspec ours may take."""

FIELDS: dict[str, Any] = {
    "type": "task_assignment",
    "sender": "task-scheduler",
    "receiver": "shell",
    "id": "6f1c0b9a4e2d7788c3a5912f00000001",
    "timestamp": 1_700_000_000.25,
    "correlation_id": "6f1c0b9a4e2d7788c3a5912f00000000",
    "reply_to": "agent.responses.task-scheduler",
    "priority": 3,
    "deadline": 1_700_003_600.5,
    "headers": {"subject": "ada", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
}


class Bare(msgspec.Struct):
    type: str
    payload: msgspec.Raw
    sender: str
    receiver: str
    id: str
    timestamp: float
    correlation_id: str
    reply_to: str
    priority: int
    deadline: float | None
    headers: dict[str, str]


class Model(pydantic.BaseModel):
    type: str
    payload: Any
    sender: str
    receiver: str
    id: str
    timestamp: float
    correlation_id: str
    reply_to: str
    priority: int
    deadline: float | None
    headers: dict[str, str]


def envelope() -> bytes:
    """Return the wire form of a message of exactly `SIZE` bytes."""
    payload: dict[str, Any] = {"kind": "shell.run", "command": ["ruff", "check", "."], "attempt": 2, "text": ""}
    missing = SIZE - len(encode(Message(payload=payload, **FIELDS)))
    return encode(Message(payload=payload | {"text": "x" * missing}, **FIELDS))


def contenders(data: bytes) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return what is measured: by direction, then by contender."""
    ours, model = decode(data), Model.model_validate_json(data)
    bare_decoder, bare_encoder = msgspec.json.Decoder(Bare), msgspec.json.Encoder()
    bare = bare_decoder.decode(data)
    assert encode(ours) == data
    assert len(bare_encoder.encode(bare)) == SIZE == len(model.model_dump_json().encode())
    return {
        "decode": {
            "aats": lambda: decode(data),
            "msgspec": lambda: bare_decoder.decode(data),
            "pydantic": lambda: Model.model_validate_json(data),
        },
        "encode": {
            "aats": lambda: encode(ours),
            "msgspec": lambda: bare_encoder.encode(bare),
            "pydantic": lambda: model.model_dump_json().encode(),
        },
    }


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the median microseconds of a call, by direction and contender."""
    calls = contenders(envelope())
    rows = [{way: best(of) for way, of in calls.items()} for _ in range(rounds)]
    return {way: {name: statistics.median(row[way][name] for row in rows) for name in of} for way, of in calls.items()}


def best(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the microseconds of a call in each contender's best burst."""
    bursts = [{name: timeit.timeit(call, number=BURST) for name, call in calls.items()} for _ in range(TURNS)]
    return {name: min(burst[name] for burst in bursts) / BURST * 1e6 for name in calls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    medians = measure(options.rounds)
    rows = {
        way: {
            **{f"{name}_us": round(value, 3) for name, value in of.items()},
            "to_msgspec": round(of["aats"] / of["msgspec"], 3),
            "to_pydantic": round(of["aats"] / of["pydantic"], 3),
            "limit_to_msgspec": LIMIT,
        }
        for way, of in medians.items()
    }
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'1 KB envelope':14} {'aats':>9} {'msgspec':>9} {'pydantic':>9}   {'/ msgspec':>9} {'/ pydantic':>10}")
    for way, row in rows.items():
        times = " ".join(f"{row[f'{name}_us']:6.2f} µs" for name in ("aats", "msgspec", "pydantic"))
        print(f"{way:14} {times}   {row['to_msgspec']:8.2f}x {row['to_pydantic']:9.2f}x")
    print(f"limit: {LIMIT} x msgspec")


if __name__ == "__main__":
    main()
