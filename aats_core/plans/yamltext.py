"""YAML text as a document: the core schema of YAML 1.2, with anchors and merge keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from aats_core.plans.document import MAX_DEPTH, Document, Duplicate, Malformed, keep_former
from aats_core.plans.place import Marks, Where
from aats_core.plans.yamlscalar import resolve

if TYPE_CHECKING:
    from yaml.events import Event

_MOST_REPEATED = 1_000_000
_CONTAINER_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def decode_yaml(text: str) -> Document:
    """Decode one YAML document; raises `Malformed`.

    Mapping keys are text as it stands there, so `on` and `1` are `"on"` and `"1"`. Keys that a mapping has twice
    are found. What aliases repeat is bounded, so that a small file cannot become a huge plan.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise Malformed(f"is not valid YAML: {problem}", mark.line + 1 if mark else 0) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Malformed(f"is not valid YAML: {error.reason}", line) from error
    return Document(builder.value, lambda: builder.marks, builder.duplicates)


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open; `size` counts values and characters, with what aliases repeat."""

    value: Any
    marks: Marks
    line: int
    anchor: str | None
    size: int = 1
    key: str | None = None
    key_line: int = 0
    merges: list[tuple[Any, Marks | None]] = field(default_factory=list)
    merging: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """A finished value, ready to be put into what holds it."""

    value: Any
    line: int
    marks: Marks | None = None
    size: int = 1


class _Builder:
    """Makes a value of YAML events, without recursion."""

    def __init__(self) -> None:
        self.value: Any = None
        self.marks: Marks = {}
        self.duplicates: list[Duplicate] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Part] = {}
        self._documents = 0
        self._repeated = 0

    def take(self, event: Event) -> None:
        """Take the next event of the parser."""
        handle = self._HANDLERS.get(event.__class__.__name__)
        if handle is not None:
            handle(self, event)

    def _scalar(self, event: Any) -> None:
        line = event.start_mark.line + 1
        top = self._frames[-1] if self._frames else None
        if top and top.key is None and top.value.__class__ is dict:
            top.merging = event.value == "<<" and event.implicit[0]
            top.key, top.key_line = event.value, line
            self._name(event.anchor, _Part(event.value, line))
            return
        try:
            value = resolve(event.value, plain=event.implicit[0], tag=event.tag)
        except ValueError as error:
            raise Malformed(str(error), line) from error
        part = _Part(value, line, None, 1 + len(event.value))
        self._name(event.anchor, part)
        self._put(part)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        part = self._anchors.get(event.anchor)
        if part is None:
            raise Malformed(f"the alias *{event.anchor} has no finished anchor &{event.anchor} before it", line)
        self._repeated += part.size
        if self._repeated > _MOST_REPEATED:
            raise Malformed(f"aliases repeat more than {_MOST_REPEATED} values and characters", line)
        self._refuse_as_key(line)
        self._put(_Part(part.value, line, part.marks, part.size))

    def _open(self, event: Any) -> None:
        line = event.start_mark.line + 1
        self._refuse_as_key(line)
        if event.tag not in _CONTAINER_TAGS:
            raise Malformed(f"the tag {event.tag[:80]!r} is not supported", line)
        if len(self._frames) >= MAX_DEPTH:
            raise Malformed(f"is nested more than {MAX_DEPTH} levels deep", line)
        value: Any = {} if event.__class__.__name__ == "MappingStartEvent" else []
        self._frames.append(_Frame(value, {}, line, event.anchor))

    def _close(self, _event: Any) -> None:
        frame = self._frames.pop()
        for value, marks in frame.merges:
            self._merge(frame, value, marks or {})
        part = _Part(frame.value, frame.line, frame.marks, frame.size)
        self._name(frame.anchor, part)
        self._put(part)

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise Malformed("holds more than one YAML document", event.start_mark.line + 1)

    def _refuse_as_key(self, line: int) -> None:
        top = self._frames[-1] if self._frames else None
        if top and top.key is None and top.value.__class__ is dict:
            raise Malformed("the key of a mapping must be text", line)

    def _name(self, anchor: str | None, part: _Part) -> None:
        if anchor is not None:
            self._anchors[anchor] = part

    def _put(self, part: _Part) -> None:
        if not self._frames:
            self.value, self.marks = part.value, part.marks or {}
            return
        top = self._frames[-1]
        top.size += part.size
        if top.value.__class__ is list:
            top.marks[len(top.value)] = (part.line, part.marks)
            top.value.append(part.value)
            return
        key, top.key = top.key or "", None
        if top.merging:
            top.merging = False
            self._note_merge(top, part)
            return
        if key in top.value:
            self.duplicates.append(Duplicate((*self._where(), key), top.key_line, top.marks[key][0]))
            keep_former(top.value, key)
            keep_former(top.marks, key)
        top.value[key] = part.value
        top.marks[key] = (top.key_line, part.marks)

    def _where(self) -> Where:
        """Return the way to the innermost open mapping or list."""
        return tuple(
            len(frame.value) if frame.value.__class__ is list else frame.key or "" for frame in self._frames[:-1]
        )

    def _note_merge(self, top: _Frame, part: _Part) -> None:
        parts = part.value if part.value.__class__ is list else [part.value]
        inner = part.marks or {}
        for index, value in enumerate(parts):
            if value.__class__ is not dict:
                raise Malformed("what is merged with << must be a mapping or a list of mappings", part.line)
            top.merges.append((value, inner[index][1] if part.value.__class__ is list else inner))

    @staticmethod
    def _merge(frame: _Frame, value: dict[str, Any], marks: Marks) -> None:
        for key, inner in value.items():
            if key not in frame.value:
                frame.value[key] = inner
                frame.marks[key] = marks[key]

    _HANDLERS: ClassVar[Mapping[str, Callable[..., None]]] = {
        "ScalarEvent": _scalar,
        "AliasEvent": _alias,
        "MappingStartEvent": _open,
        "SequenceStartEvent": _open,
        "MappingEndEvent": _close,
        "SequenceEndEvent": _close,
        "DocumentStartEvent": _document,
    }
