"""What a client remembers of messages that went back to the server without it."""

from __future__ import annotations

from collections import OrderedDict

from aats_broker_rabbitmq.entry import Entry

MOST = 10_000


class Memory:
    """Puts right, when such a message comes again, what the server cannot know of it.

    That it was settled meanwhile, that someone here still has it in hand, or that its deliveries were counted wrongly
    because it was fetched and not handed out.
    """

    def __init__(self) -> None:
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._lost: OrderedDict[str, Entry] = OrderedDict()

    def settled(self, entry: Entry) -> None:
        """Remember a message that was acknowledged, in case the server did not hear of it."""
        self._lost.pop(entry.message.id, None)
        self._settled[entry.message.id] = None
        if len(self._settled) > MOST:
            self._settled.popitem(last=False)

    def lost(self, entry: Entry) -> None:
        """Remember a message that the server takes back."""
        self._lost[entry.message.id] = entry
        if len(self._lost) > MOST:
            self._lost.popitem(last=False)

    def was_settled(self, entry: Entry) -> bool:
        """Tell whether a message that comes back was settled, and forget that."""
        return self._settled.pop(entry.message.id, self) is None and entry.came_back

    def recall(self, entry: Entry) -> Entry:
        """Return what to go on with: the entry itself, its count put right, or the old one that is still in hand."""
        old = self._lost.pop(entry.message.id, None) if entry.came_back else None
        if old is None:
            return entry
        entry.attempts += old.drift
        entry.due = max(entry.due, old.due)
        if old.holder is None:
            return entry
        old.intake, old.tag, old.returned_as = entry.intake, entry.tag, entry.returned_as
        old.intake.unsettled[old.tag] = old
        return old
