"""The schema registry's REST interface, spoken by a small server here: no registry can be had on a test machine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aats_broker_kafka.registry import SCHEMA_ID, Registry
from aats_broker_kafka.settings import RegistrySettings

from aats_core.errors import AatsError, BrokerError, BrokerUnavailable, InvalidPayload
from aats_core.message import Message, encode

REPORT = {"type": "object", "required": ["pages"], "properties": {"pages": {"type": "integer"}}}


class Answers:
    """What the registry answers, by path, and what it was asked."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    def offer(self, subject: str, schema: object, *, kind: str = "JSON", id: int = 7) -> None:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        found = {"subject": subject, "version": 3, "id": id, "schemaType": kind, "schema": text}
        self.of[f"/subjects/{subject}/versions/latest"] = (200, found)


@pytest.fixture
def registry() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append((self.path, self.headers["Authorization"]))
            status, body = answers.of.get(self.path, (404, {"error_code": 40401, "message": "Subject not found."}))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield answers
        server.shutdown()


def check(answers: Answers, *messages: Message, **chosen: Any) -> list[object]:
    """Return the headers for messages to the topic `t.a`, or the error of each."""

    async def main() -> list[object]:
        registry = Registry(RegistrySettings(url=answers.url, **chosen), timeout=5)
        outcomes: list[object] = []
        for message in messages:
            try:
                outcomes.append(await registry.check("t.a", message, encode(message)))
            except AatsError as error:
                outcomes.append(error)
        await registry.close()
        return outcomes

    return asyncio.run(main())


def test_a_payload_that_fits_is_sent_with_the_id_of_its_schema(registry: Answers) -> None:
    registry.offer("t.a-value", REPORT)
    assert check(registry, Message("report", {"pages": 3})) == [[(SCHEMA_ID, b"7")]]


def test_a_payload_that_does_not_fit_is_refused_with_the_place(registry: Answers) -> None:
    registry.offer("t.a-value", REPORT)
    wrong, none = check(registry, Message("report", {"pages": "three"}), Message("report"))
    assert isinstance(wrong, InvalidPayload)
    assert "$.pages: 'three' is not of type 'integer'" in str(wrong)
    assert isinstance(none, InvalidPayload)


def test_a_subject_without_schema_allows_everything_and_is_remembered(registry: Answers) -> None:
    assert check(registry, Message("a", [1]), Message("b", "x")) == [[], []]
    assert len(registry.asked) == 1


def test_a_schema_is_fetched_again_after_a_while(registry: Answers) -> None:
    registry.offer("t.a-value", REPORT)
    check(registry, *[Message("report", {"pages": 1})] * 3, refresh=1e-9)
    assert len(registry.asked) == 3


def test_subjects_are_made_of_topic_and_type_and_asked_for_with_a_password(registry: Answers) -> None:
    registry.offer("t.a-report", REPORT, id=9)
    chosen = {"subject": "{topic}-{type}", "user": "ada", "password": "correct-horse"}
    assert check(registry, Message("report", {"pages": 1}), **chosen) == [[(SCHEMA_ID, b"9")]]
    assert registry.asked == [("/subjects/t.a-report/versions/latest", "Basic YWRhOmNvcnJlY3QtaG9yc2U=")]


@pytest.mark.parametrize(
    ("schema", "kind", "complaint"),
    [
        ('{"type": "record"}', "AVRO", "its schema is AVRO"),
        ("no JSON", "JSON", "is no JSON schema"),
        ({"type": "nonsense"}, "JSON", "is no JSON schema"),
    ],
)
def test_a_schema_that_cannot_check_is_an_error(registry: Answers, schema: object, kind: str, complaint: str) -> None:
    registry.offer("t.a-value", schema, kind=kind)
    (error,) = check(registry, Message("report"))
    assert isinstance(error, BrokerError)
    assert complaint in str(error)


@pytest.mark.parametrize(("status", "error"), [(503, BrokerUnavailable), (401, BrokerError)])
def test_a_registry_that_refuses_is_named(registry: Answers, status: int, error: type[Exception]) -> None:
    registry.of["/subjects/t.a-value/versions/latest"] = (status, {"message": "no"})
    (found,) = check(registry, Message("report"))
    assert type(found) is error
    assert registry.url in str(found)


def test_a_registry_that_is_away_is_named() -> None:
    answers = Answers()
    answers.url = "http://127.0.0.1:9"
    (found,) = check(answers, Message("report"))
    assert isinstance(found, BrokerUnavailable)
    assert "127.0.0.1:9" in str(found)
