"""Handlers are checked by their annotations: what does not fit is refused with the reason and reaches nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Awaitable
from typing import Annotated, Any, Literal, Never, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aats_core.errors import InvalidPayload, WiringError
from aats_core.handlers import Handler, collect, on, subscribe, task
from aats_core.message import Message, decode, encode


class Context:
    """Stands for what a handler gets besides its payload."""


class Point(msgspec.Struct):
    x: int
    y: list[int] = []


class Point3(Point):
    z: int = 0


@dataclasses.dataclass
class SameShape:
    x: int
    y: list[int]


@dataclasses.dataclass
class Job:
    name: str
    tries: int = 1


class Address(pydantic.BaseModel):
    street: str


class Person(pydantic.BaseModel):
    name: str
    age: int = 0
    address: Address | None = None


class Options(TypedDict):
    depth: int


Positive = Annotated[int, msgspec.Meta(gt=0)]


class Everything:
    """One handler for each way to annotate a payload; each returns what it got."""

    @on("struct")
    async def struct(self, point: Point) -> Point:
        return point

    @on("dataclass")
    async def dataclass(self, job: Job) -> Job:
        return job

    @on("pydantic")
    async def pydantic(self, person: Person) -> Person:
        return person

    @on("people")
    async def people(self, people: list[Person]) -> list[Person]:
        return people

    @on("perhaps person")
    async def perhaps_person(self, person: Person | None) -> Person | None:
        return person

    @on("typed dict")
    async def typed_dict(self, options: Options) -> Options:
        return options

    @on("str")
    async def str(self, text: str) -> str:
        return text

    @on("int")
    async def int(self, number: int) -> int:
        return number

    @on("float")
    async def float(self, number: float) -> float:
        return number

    @on("bool")
    async def bool(self, flag: bool) -> bool:
        return flag

    @on("bytes")
    async def bytes(self, data: bytes) -> bytes:
        return data

    @on("list")
    async def list(self, numbers: list[int]) -> list[int]:
        return numbers

    @on("dict")
    async def dict(self, values: dict[str, Any]) -> dict[str, Any]:
        return values

    @on("optional")
    async def optional(self, name: str | None) -> str | None:
        return name

    @on("literal")
    async def literal(self, mode: Literal["fast", "safe"]) -> str:
        return mode

    @on("union")
    async def union(self, value: int | str | list[str]) -> int | str | list[str]:
        return value

    @on("positive")
    async def positive(self, number: Positive) -> int:
        return number

    @on("when")
    async def when(self, at: datetime.datetime) -> datetime.datetime:
        return at

    @on("any")
    async def any(self, value: Any) -> Any:
        return value

    @on("nothing")
    async def nothing(self) -> str:
        return "called"

    @on("several")
    async def several(self, name: str, numbers: list[int], person: Person | None = None) -> list[Any]:
        return [name, numbers, person]

    @on("keyword only")
    async def keyword_only(self, *, name: str) -> str:
        return name

    @on("default")
    async def default(self, text: str = "nothing") -> str:
        return text


HANDLERS = collect(Everything, None)


def handler(name: str) -> Handler[Any]:
    return HANDLERS["on", name]


def over_the_wire(name: str, payload: object) -> Message:
    return decode(encode(Message(name, payload)))


async def result_of(found: Handler[Any], message: Message, agent: object = None, context: object = None) -> Any:
    """Call a handler as the runtime does: what it returns is checked too."""
    return found.check_result(await found.call(agent or Everything(), message, context))


def call(name: str, message: Message) -> Any:
    return asyncio.run(result_of(handler(name), message))


FITTING = [
    ("struct", {"x": 1}, Point(1)),
    ("struct", Point(1, [2]), Point(1, [2])),
    ("dataclass", {"name": "n"}, Job("n")),
    ("dataclass", Job("n", 2), Job("n", 2)),
    ("pydantic", {"name": "n", "address": {"street": "s"}}, Person(name="n", address=Address(street="s"))),
    ("pydantic", Person(name="n"), Person(name="n")),
    ("people", [{"name": "n"}], [Person(name="n")]),
    ("people", [Person(name="n")], [Person(name="n")]),
    ("perhaps person", {"name": "n"}, Person(name="n")),
    ("perhaps person", None, None),
    ("typed dict", {"depth": 3}, {"depth": 3}),
    ("str", "text", "text"),
    ("int", 3, 3),
    ("float", 3, 3.0),
    ("bool", False, False),
    ("bytes", b"\x00\xff", b"\x00\xff"),
    ("list", [1, 2], [1, 2]),
    ("list", (1, 2), [1, 2]),
    ("dict", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ("optional", None, None),
    ("optional", "name", "name"),
    ("literal", "fast", "fast"),
    ("union", 1, 1),
    ("union", "1", "1"),
    ("union", ["1"], ["1"]),
    ("positive", 1, 1),
    ("when", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)),
    ("any", {"a": 1}, {"a": 1}),
    ("nothing", None, "called"),
    ("nothing", {"ignored": True}, "called"),
    ("several", {"name": "n", "numbers": [1]}, ["n", [1], None]),
    ("several", {"name": "n", "numbers": [], "person": {"name": "p"}}, ["n", [], Person(name="p")]),
    ("keyword only", {"name": "n"}, "n"),
    ("default", None, "nothing"),
    ("default", "text", "text"),
]

NOT_FITTING = [
    ("struct", {"y": [1]}, "x"),
    ("struct", {"x": "1"}, "`int`, got `str`"),
    ("struct", {"x": 1, "y": [1, "2"]}, r"\$\.y\[1\]"),
    ("struct", [1], "`object`"),
    ("struct", None, "null"),
    ("struct", Job("n"), "x"),
    ("dataclass", {"tries": 1}, "name"),
    ("dataclass", {"name": "n", "tries": None}, "tries"),
    ("pydantic", {"age": 1}, r"Field required - at `\$\.name`"),
    ("pydantic", {"name": "n", "address": {}}, r"\$\.address\.street"),
    ("people", {"name": "n"}, "`array`"),
    ("people", [{"name": "n"}, {}], "name"),
    ("typed dict", {}, "depth"),
    ("str", 1, "`str`, got `int`"),
    ("int", "1", "`int`, got `str`"),
    ("int", True, "`int`, got `bool`"),
    ("int", 1.5, "`int`, got `float`"),
    ("float", "1", "`float`"),
    ("bool", 1, "`bool`"),
    ("bytes", "not base64!", "base64"),
    ("list", ["1"], r"\$\[0\]"),
    ("list", None, "`array`, got `null`"),
    ("dict", [["a", 1]], "`object`"),
    ("optional", 1, "`str | null`"),
    ("literal", "slow", "slow"),
    ("union", 1.5, "float"),
    ("union", [1], r"\$\[0\]"),
    ("positive", 0, ">= 1"),
    ("when", "yesterday", "RFC3339"),
    ("several", {"name": "n"}, "numbers"),
    ("several", {"name": 1, "numbers": []}, r"\$\.name"),
    ("several", ["n", []], "`object`"),
    ("several", None, "`object`"),
    ("several", {"name": "n", "numbers": [], "person": {"name": 1}}, "name"),
    ("keyword only", "n", "`object`"),
    ("default", 1, "`str`"),
]


class TestPayload:
    @pytest.mark.parametrize(("name", "payload", "expected"), FITTING)
    def test_a_python_value_that_fits_reaches_the_handler(self, name: str, payload: object, expected: object) -> None:
        assert call(name, Message(name, payload)) == expected

    @pytest.mark.parametrize(("name", "payload", "expected"), FITTING)
    def test_undecoded_json_that_fits_reaches_the_handler(self, name: str, payload: object, expected: object) -> None:
        assert call(name, over_the_wire(name, payload)) == expected

    @pytest.mark.parametrize(("name", "payload", "reason"), NOT_FITTING)
    def test_a_python_value_that_does_not_fit_is_refused_with_the_reason(
        self, name: str, payload: object, reason: str
    ) -> None:
        with pytest.raises(InvalidPayload, match=f"^{name}: .*{reason}"):
            handler(name).call(Unreachable(), Message(name, payload), None)

    @pytest.mark.parametrize(("name", "payload", "reason"), [case for case in NOT_FITTING if case[1] is not None])
    def test_undecoded_json_that_does_not_fit_is_refused_with_the_reason(
        self, name: str, payload: object, reason: str
    ) -> None:
        with pytest.raises(InvalidPayload, match=f"^{name}: "):
            handler(name).call(Unreachable(), over_the_wire(name, payload), None)

    def test_an_instance_of_the_annotated_class_is_the_very_object(self) -> None:
        for name, payload in (("struct", Point(1)), ("dataclass", Job("n")), ("pydantic", Person(name="n"))):
            assert call(name, Message(name, payload)) is payload

    def test_an_instance_of_a_subclass_fits(self) -> None:
        assert call("struct", Message("struct", Point3(1, [2], z=3))).x == 1

    def test_a_value_of_the_same_shape_but_another_class_fits(self) -> None:
        assert call("struct", Message("struct", SameShape(1, [2]))) == Point(1, [2])

    def test_an_unknown_field_is_ignored_so_that_older_processes_read_newer_messages(self) -> None:
        assert call("struct", over_the_wire("struct", {"x": 1, "new": True})) == Point(1)

    def test_the_refusal_does_not_repeat_the_value_which_may_be_a_secret(self) -> None:
        with pytest.raises(InvalidPayload) as refused:
            handler("pydantic").call(Unreachable(), Message("pydantic", {"name": "n", "age": "hunter2"}), None)
        assert "hunter2" not in str(refused.value)
        assert "$.age" in str(refused.value)

    def test_the_refusal_is_one_line(self) -> None:
        for payload in ({}, {"name": 1, "age": "x"}):
            with pytest.raises(InvalidPayload) as refused:
                handler("people").call(Unreachable(), Message("people", [payload]), None)
            assert "\n" not in str(refused.value)

    def test_json_nested_too_deep_is_refused(self) -> None:
        deep = msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)
        with pytest.raises(InvalidPayload, match="recursion"):
            handler("any").call(Unreachable(), Message("any", deep), None)

    def test_text_that_is_not_utf8_is_refused(self) -> None:
        with pytest.raises(InvalidPayload, match="utf-8"):
            handler("str").call(Unreachable(), Message("str", msgspec.Raw(b'"\xff"')), None)

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
    def test_both_forms_of_a_payload_are_judged_alike(self, payload: object) -> None:
        for name in ("struct", "pydantic", "str", "int", "bool", "list", "union", "several"):
            assert self._judge(Message(name, payload)) == self._judge(over_the_wire(name, payload))

    def _judge(self, message: Message) -> bool:
        try:
            running = handler(message.type).call(Everything(), message, None)
        except InvalidPayload:
            return False
        running.close()
        return True


class Unreachable:
    """An agent whose attributes nobody may touch: the payload is judged before."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"the handler was reached and asked for {name}")


class WithExtras:
    @task("last")
    async def last(self, point: Point, ctx: Context) -> list[Any]:
        return [point, ctx]

    @task("first")
    async def first(self, ctx: Context, point: Point) -> list[Any]:
        return [point, ctx]

    @task("envelope")
    async def envelope(self, text: str, message: Message) -> list[Any]:
        return [text, message]

    @task("only")
    async def only(self, ctx: Context) -> Any:
        return ctx

    @task("apart")
    async def apart(self, a: int, ctx: Context, b: int = 2, *, c: int) -> list[Any]:
        return [a, b, c, ctx]


class TestExtras:
    @pytest.mark.parametrize("name", ["last", "first"])
    def test_the_context_comes_wherever_the_handler_asks_for_it(self, name: str) -> None:
        context = Context()
        found = collect(WithExtras, Context)["task", name]
        for message in (Message(name, Point(1)), over_the_wire(name, {"x": 1})):
            assert asyncio.run(result_of(found, message, WithExtras(), context)) == [Point(1), context]

    def test_the_envelope_comes_where_the_handler_asks_for_it(self) -> None:
        message = Message("envelope", "text", sender="someone")
        found = collect(WithExtras, Context)["task", "envelope"]
        assert asyncio.run(result_of(found, message, WithExtras())) == ["text", message]

    def test_a_handler_may_take_nothing_but_the_context(self) -> None:
        context = Context()
        found = collect(WithExtras, Context)["task", "only"]
        assert asyncio.run(result_of(found, Message("only", {"a": 1}), WithExtras(), context)) is context
        assert found.schema() == {"type": "null"}

    def test_a_payload_is_taken_apart_around_the_context(self) -> None:
        context = Context()
        found = collect(WithExtras, Context)["task", "apart"]
        message = over_the_wire("apart", {"a": 1, "c": 3})
        assert asyncio.run(result_of(found, message, WithExtras(), context)) == [1, 2, 3, context]


class Returning:
    @on("int")
    async def int(self, value: Any) -> int:
        return value

    @on("struct")
    async def struct(self, value: Any) -> Point:
        return value

    @on("pydantic")
    async def pydantic(self, value: Any) -> Person:
        return value

    @on("none")
    async def none(self, value: Any) -> None:
        return value

    @on("free")
    async def free(self, value: Any):
        return value

    @on("never")
    async def never(self, value: Any) -> Never:
        raise LookupError(value)


class TestResult:
    @pytest.mark.parametrize(
        ("name", "returned"),
        [
            ("int", 1),
            ("struct", Point(1)),
            ("pydantic", Person(name="n")),
            ("none", None),
            ("free", object()),
        ],
    )
    def test_what_fits_the_annotation_is_returned_as_it_is(self, name: str, returned: object) -> None:
        found = collect(Returning, None)["on", name]
        assert asyncio.run(result_of(found, Message(name, returned), Returning())) is returned

    def test_what_has_the_shape_of_the_annotation_becomes_it(self) -> None:
        found = collect(Returning, None)
        assert found["on", "struct"].check_result({"x": 1}) == Point(1)
        assert found["on", "pydantic"].check_result({"name": "n"}) == Person(name="n")

    @pytest.mark.parametrize(
        ("name", "returned", "reason"),
        [
            ("int", "1", "`int`, got `str`"),
            ("int", None, "`int`, got `null`"),
            ("struct", {"x": "1"}, r"\$\.x"),
            ("pydantic", {"age": 1}, r"\$\.name"),
            ("none", 0, "`null`"),
        ],
    )
    def test_what_does_not_fit_the_annotation_is_detected(self, name: str, returned: object, reason: str) -> None:
        found = collect(Returning, None)["on", name]
        with pytest.raises(InvalidPayload, match=f"{name} returned something .* not allow: .*{reason}"):
            asyncio.run(result_of(found, Message(name, returned), Returning()))

    def test_a_handler_that_never_returns_may_say_so(self) -> None:
        found = collect(Returning, None)["on", "never"]
        with pytest.raises(LookupError):
            asyncio.run(result_of(found, Message("never", 1), Returning()))


class TestSchema:
    def test_every_way_to_annotate_has_a_schema_that_json_carries(self) -> None:
        for found in HANDLERS.values():
            assert isinstance(msgspec.json.decode(msgspec.json.encode(found.schema())), dict)

    def test_several_parameters_are_one_object(self) -> None:
        schema = msgspec.json.encode(handler("several").schema()).decode()
        assert '"required":["name","numbers"]' in schema
        assert '"street"' in schema

    def test_a_constraint_is_part_of_the_schema(self) -> None:
        assert handler("positive").schema() == {"type": "integer", "exclusiveMinimum": 0}

    def test_a_class_that_json_cannot_carry_has_none(self) -> None:
        with pytest.raises(WiringError, match=r"Odd\.handle: .*Context"):
            collect(Odd, None)["on", "odd"].schema()

    def test_a_class_that_json_cannot_carry_is_still_told_from_others(self) -> None:
        found = collect(Odd, None)["on", "odd"]
        context = Context()
        assert asyncio.run(result_of(found, Message("odd", context), Odd())) is context
        with pytest.raises(InvalidPayload, match="`Context`, got `dict`"):
            found.call(Unreachable(), over_the_wire("odd", {}), None)


class Odd:
    @on("odd")
    async def handle(self, value: Context) -> Context:
        return value


class Base:
    @on("greet")
    async def greet(self, name: str) -> str:
        """Say hello.

        To whoever asks.
        """
        return f"Hello, {name}"

    @on("leave")
    async def leave(self) -> str:
        return "Goodbye"


class Override(Base):
    @on("greet")
    async def greet(self, name: str) -> str:
        return f"Good day, {name}"


class OtherName(Base):
    @on("greet")
    async def say_hello(self, name: str) -> str:
        return f"Hi, {name}"


class Silenced(Base):
    async def greet(self, name: str) -> str:
        return name


class Twice:
    @on("same")
    async def one(self) -> None: ...

    @on("same")
    async def two(self) -> None: ...


class Both:
    @on("first")
    @subscribe("system.events.*")
    @task("first")
    async def all_of_it(self) -> None: ...


class NotAsync:
    @on("x")
    def handle(self) -> None: ...


class Static:
    @on("x")
    @staticmethod
    async def handle(value: str) -> None: ...


class NotAnnotated:
    @on("x")
    async def handle(self, value, other: int): ...


class Unresolved:
    @on("x")
    async def handle(self, value: Missing) -> None: ...  # noqa: F821


class Variadic:
    @on("x")
    async def handle(self, *values: int) -> None: ...


class Untagged:
    @on("x")
    async def handle(self, value: Point | Point3) -> None: ...


class BadDefault:
    @on("x")
    async def handle(self, a: int, b: list[int] = [1]) -> None: ...  # noqa: B006


class OddReturn:
    @on("x")
    async def handle(self) -> Context | str: ...


class TestCollect:
    def test_a_method_may_handle_several_things(self) -> None:
        assert set(collect(Both, None)) == {("on", "first"), ("subscribe", "system.events.*"), ("task", "first")}

    def test_a_handler_knows_its_documentation(self) -> None:
        found = collect(Base, None)
        assert found["on", "greet"].doc == "Say hello.\n\nTo whoever asks."
        assert found["on", "leave"].doc == ""

    @pytest.mark.parametrize(("cls", "answer"), [(Base, "Hello, A"), (Override, "Good day, A"), (OtherName, "Hi, A")])
    def test_a_subclass_replaces_the_handlers_of_its_bases(self, cls: type, answer: str) -> None:
        found = collect(cls, None)
        assert set(found) == {("on", "greet"), ("on", "leave")}
        assert asyncio.run(result_of(found["on", "greet"], Message("greet", "A"), cls())) == answer

    def test_a_method_overridden_without_a_mark_handles_nothing(self) -> None:
        assert set(collect(Silenced, None)) == {("on", "leave")}

    @pytest.mark.parametrize(
        ("cls", "reason"),
        [
            (Twice, "Twice: two methods handle on 'same'"),
            (NotAsync, r"NotAsync\.handle: a handler is an `async def`"),
            (Static, r"Static\.handle: a handler is an `async def` method"),
            (NotAnnotated, r"NotAnnotated\.handle: annotate value"),
            (Unresolved, r"Unresolved\.handle: .*'Missing' is not defined"),
            (Variadic, r"Variadic\.handle: .*\*values"),
            (Untagged, r"Untagged\.handle: .*tagged"),
            (BadDefault, r"BadDefault\.handle: .*default"),
            (OddReturn, r"OddReturn\.handle returns: .*Context | str"),
        ],
    )
    def test_what_cannot_work_is_refused_with_the_place(self, cls: type, reason: str) -> None:
        with pytest.raises(WiringError, match=reason):
            collect(cls, None)

    @pytest.mark.parametrize("mark", [on, subscribe, task])
    def test_a_mark_without_a_name_is_refused(self, mark: Any) -> None:
        with pytest.raises(WiringError, match=f"@{mark.__name__} needs a name"):
            mark("")

    def test_a_class_without_marks_has_no_handlers(self) -> None:
        assert collect(Context, None) == {}


def test_a_handler_is_called_once_for_each_call() -> None:
    calls = []

    class Counting:
        @on("count")
        async def count(self, n: int) -> None:
            calls.append(n)

    found = collect(Counting, None)["on", "count"]
    running: Awaitable[Any] = found.call(Counting(), Message("count", 1), None)
    assert calls == []
    asyncio.run(_wait_for(running))
    assert calls == [1]


async def _wait_for(running: Awaitable[Any]) -> None:
    await running
