"""What a group has done of one partition, and how that is written into the note of a committed offset."""

from __future__ import annotations

import base64
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from aats_broker_kafka.driver import TopicPartition
from aats_core.message import Message

if TYPE_CHECKING:
    from aats_broker_kafka.subscription import KafkaDelivery

NOTE_BYTES = 3000
"""What a note may hold, encoded to 4000 characters: a server refuses more than 4096 (offset.metadata.max.bytes)."""

MARK, SPLIT = 6, 3
"""Bytes that a mark may take, and by which a note may grow when one of a run of messages in hand is settled."""

TIME, TENTHS = 10, 10
"""Bytes that a time may take, and its unit: tenths of a second."""

UNTOUCHED, SETTLED = 0, 1
"""Marks of a message that nobody had yet, and of one that is done with; others are 4 * attempts + `LENT` + `HELD`."""
HELD, LENT = 1, 2


class State:
    """Where a message is on its way to the group; no enum, whose members take long to look up."""

    WAITING = 0
    """Behind an earlier one of its key, or for its time."""
    READY = 1
    MARKING = 2
    """Its attempt is being stored; then it is handed out."""
    HELD = 3
    BURYING = 4
    """It is being written to the dead letters."""
    DONE = 5


class Entry:
    """A message of a partition that is not settled."""

    __slots__ = (
        "attempts",
        "delivery",
        "due",
        "key",
        "lent",
        "message",
        "offset",
        "part",
        "size",
        "state",
        "suspect",
        "timestamp",
        "until",
    )

    def __init__(self, part: Partition, offset: int, message: Message, timestamp: int, size: int) -> None:
        self.part = part
        self.offset = offset
        self.message = message
        self.timestamp = timestamp
        self.size = size
        self.key: str | None = None
        self.due = 0.0
        """Unix seconds before which it is not handed out."""
        self.attempts = 0
        self.state = State.WAITING
        self.suspect = False
        """Whether it was in the hands of a client that died, which it may have killed."""
        self.lent = ""
        """The client that holds it, where that is another one."""
        self.until = 0.0
        """When, on the event loop's clock, the lease of that client ends."""
        self.delivery: KafkaDelivery | None = None

    @property
    def topic(self) -> str:
        """The topic it was published to."""
        topic: str = self.part.place.topic
        return topic


class Partition:
    """A partition while this client reads it for a group.

    `open` holds what was read and is not settled. The committed offset is that of the first of them, and its note has
    runs of marks for the messages from there on: which are settled already, and how often the others were handed out.
    After an empty run, as many as there is room for, the times follow at which messages that were given back are due.
    """

    def __init__(self, place: TopicPartition, offset: int, note: str, end: int) -> None:
        self.place = place
        self.position = offset
        self.end = end
        """Where the partition ended when it was taken over: until there is read, more urgent messages may come."""
        self.open: dict[int, Entry] = {}
        self.marks, self.delayed = decode_note(offset, note)
        """Marks of messages not yet read again, and the times before which some are not handed out again."""
        self.mine = True
        self.leaving = False
        """Whether it is about to go to another client: nothing more is handed out."""
        self.top = max(self.marks, default=offset - 1)
        """The last message that may have a mark."""
        self._cost = SPLIT * len(self.marks) + len(note)
        self._since = 0

    def add(self, entry: Entry) -> None:
        """Keep a message that was read, after all before it."""
        self.open[entry.offset] = entry

    def settle(self, entry: Entry) -> None:
        """Forget a message: it is done with."""
        entry.state = State.DONE
        self.open.pop(entry.offset, None)
        if entry.offset > self.top:
            self.top = entry.offset

    def delay(self, entry: Entry, due: float) -> None:
        """Hand a message out no sooner than at a time, in Unix seconds, which the next note has to hold."""
        entry.due = self.delayed[entry.offset] = due

    @property
    def committed(self) -> int:
        """The offset before which all is settled."""
        return next(iter(self.open), self.position)

    def has_room(self) -> bool:
        """Tell whether the note can take another mark, however the messages in hand are settled."""
        return self._cost + (MARK + SPLIT) * (self._since + 1) <= NOTE_BYTES

    def attempt(self, entry: Entry) -> None:
        """Count an attempt of a message, which the next note has to hold."""
        entry.state = State.MARKING
        entry.attempts += 1
        if entry.offset > self.top:
            self.top = entry.offset
        self._since += 1

    def note(self) -> str:
        """Return the note of the committed offset: runs of equal marks, and times, as pairs of varints."""
        data, run, last, handed = bytearray(), 0, UNTOUCHED, 0
        first = self.committed
        for offset in range(first, self.top + 1):
            mark = self._mark(offset)
            handed += mark > SETTLED
            if mark != last and run:
                _put(data, run, last)
                run = 0
            run, last = run + 1, mark
            if len(data) > NOTE_BYTES:
                break  # what is not noted comes again, if this client dies
        if run and last:
            _put(data, run, last)
        self._cost, self._since = len(data) + SPLIT * handed, 0
        if self.delayed:
            self._put_times(data, first)
        return base64.b64encode(data).decode()

    def _put_times(self, data: bytearray, first: int) -> None:
        now = time.time()
        open_still = {
            offset: due
            for offset, due in self.delayed.items()
            if due > now and (offset in self.open or offset >= self.position)
        }
        self.delayed = open_still
        if open_still:
            _put(data, 0, 0)
        for offset, due in sorted(open_still.items()):
            if len(data) + TIME > NOTE_BYTES:
                break  # it is due sooner, if this client dies
            _put(data, offset - first, math.ceil(due * TENTHS))

    def _mark(self, offset: int) -> int:
        entry = self.open.get(offset)
        if entry is None:
            return SETTLED if offset < self.position else self.marks.get(offset, UNTOUCHED)
        if not entry.attempts:
            return UNTOUCHED
        held = HELD if entry.state in (State.HELD, State.MARKING) else 0
        return 4 * entry.attempts + (LENT if entry.lent else 0) + held


class Note(NamedTuple):
    """What is noted of messages, by offset: their marks, and when they are due."""

    marks: dict[int, int]
    delayed: dict[int, float]


def decode_note(first: int, note: str) -> Note:
    """Return what is in a note; nothing where it is not ours."""
    try:
        numbers = _numbers(base64.b64decode(note, validate=True))
    except ValueError:
        return Note({}, {})
    marks: dict[int, int] = {}
    offset, pairs = first, zip(numbers[::2], numbers[1::2], strict=False)
    for run, mark in pairs:
        if not run:
            break
        if mark:
            marks |= dict.fromkeys(range(offset, offset + run), mark)
        offset += run
    return Note(marks, {first + ahead: tenths / TENTHS for ahead, tenths in pairs})


def _put(data: bytearray, *numbers: int) -> None:
    for number in numbers:
        while number > 0x7F:
            data.append(number & 0x7F | 0x80)
            number >>= 7
        data.append(number)


def _numbers(data: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    return numbers
