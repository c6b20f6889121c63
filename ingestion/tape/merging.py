"""Merging: the tapes that two recorders wrote of one symbol as one stream of messages, each message once.

1. A message is known by what it states: an order book by its updates, a candle by its minute, all by topic and time.
   The n-th of several that state the same is the n-th of the other tape.
2. Both tapes are read side by side, LOOK_NS ahead. What stands at the head of both is taken once; what the other tape
   still has further on waits for it; of two that only one tape has the earlier goes first.
3. A message that both have is received when the first of them had it. Where both state another thing under one name,
   the first tape's is taken and the conflict is told.
4. What the service itself makes of messages is left out: who plays the stream makes it again. A START stays where the
   other tape was silent too or about to begin anew itself, since then nobody had what came before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from ingestion.decoding.own import OWN
from ingestion.decoding.wire import PartMessage
from ingestion.messages import TimedMessage
from ingestion.venues.decoders import Decoders
from market.clock import MINUTE_NS, SECOND_NS
from market.errors import RejectedMessage
from market.events import KLINE, ORDERBOOK
from storage.tape import Frame

LOOK_NS: Final = 10 * SECOND_NS
"""How much later the other recorder may have had a message."""
KNOWN_NS: Final = 10 * MINUTE_NS
"""How long what was met is known at least."""
MOST_KNOWN: Final = 1_000_000
"""When what is older is forgotten."""
MOST_CONFLICTS: Final = 100
"""Told one by one; the rest is counted."""
_MADE_HERE: Final = (f"{OWN}gap.", f"{OWN}ticker.")
_START: Final = f"{OWN}start."
_PART: Final = msgspec.json.Decoder(PartMessage)


@dataclass(slots=True)
class Merged:
    """What was met. in_both, only_first, only_second: messages. conflicts: the first of them in words."""

    in_both: int = 0
    only_first: int = 0
    only_second: int = 0
    conflicting: int = 0
    conflicts: list[str] = field(default_factory=list)


class _Met(NamedTuple):
    """A message on its way: what it is known by, with its number among those; what it states; whether it is a START."""

    key: tuple[object, ...]
    content: bytes
    message: TimedMessage
    is_start: bool


def merge_tapes(
    first: Iterator[Frame], second: Iterator[Frame], decoders: Decoders, merged: Merged
) -> Iterator[TimedMessage]:
    """The messages of both, in an order that goes on in each as it was; counted in ``merged``.

    decoders: of the market of both. Raises CorruptStore where a tape cannot be read.
    """
    sides = _Side(first, decoders), _Side(second, decoders)
    while True:
        heads = [side.head() for side in sides]
        at = _next(heads, sides)
        if at is None:
            return
        side, other = sides[at], sides[1 - at]
        met = side.take()
        counterpart = other.take_out(met.key)
        if counterpart is None:
            if met.is_start and not side.is_start_needed(other):
                continue
            if at == 0:
                merged.only_first += 1
            else:
                merged.only_second += 1
            yield met.message
            continue
        merged.in_both += 1
        one, two = (met, counterpart) if at == 0 else (counterpart, met)
        if one.content != two.content:
            merged.conflicting += 1
            if len(merged.conflicts) < MOST_CONFLICTS:
                merged.conflicts.append(f"{one.key[0]}: {one.message.body[:200]!r} and {two.message.body[:200]!r}")
        yield TimedMessage(min(one.message.recv_ns, two.message.recv_ns), one.message.body)


def _next(heads: list[_Met | None], sides: tuple[_Side, _Side]) -> int | None:
    """Which side goes on; None when both have ended."""
    one, two = heads
    if one is None or two is None:
        return None if one is two else int(one is None)
    waits = [sides[1].holds(one.key), sides[0].holds(two.key)]
    if one.key == two.key:
        return 0
    if waits[0] != waits[1]:
        # What the other one has too waits for what stands before it there.
        return int(waits[0])
    return int(two.message.recv_ns < one.message.recv_ns)


class _Side:
    """A tape, read ahead."""

    def __init__(self, frames: Iterator[Frame], decoders: Decoders) -> None:
        self._frames = frames
        self._decoders = decoders
        self._waiting: deque[_Met] = deque()
        self._keys: dict[tuple[object, ...], _Met] = {}
        self._numbers: dict[tuple[object, ...], tuple[int, int]] = {}  # how many, and when the last one came
        self._has_ended = False
        self.last_ns = self._before_ns = 0

    def head(self) -> _Met | None:
        """The next message, LOOK_NS read ahead of it; those that the other side had first are skipped."""
        self._read_ahead()
        while self._waiting and self._waiting[0].key not in self._keys:
            self._note(self._waiting.popleft())
            self._read_ahead()
        return self._waiting[0] if self._waiting else None

    def take(self) -> _Met:
        """Take the head."""
        met = self._waiting.popleft()
        del self._keys[met.key]
        self._note(met)
        return met

    def holds(self, key: tuple[object, ...]) -> bool:
        return key in self._keys

    def take_out(self, key: tuple[object, ...]) -> _Met | None:
        """Take a message from wherever it stands."""
        return self._keys.pop(key, None)

    def is_start_needed(self, other: _Side) -> bool:
        """Whether what was missed before the START that was just taken is missing on the other side too."""
        ahead = other.head()
        return other.last_ns <= self._before_ns or ahead is None or ahead.is_start

    def _note(self, met: _Met) -> None:
        self._before_ns, self.last_ns = self.last_ns, max(self.last_ns, met.message.recv_ns)

    def _read_ahead(self) -> None:
        while not self._has_ended and (
            not self._waiting or self._waiting[-1].message.recv_ns < self._waiting[0].message.recv_ns + LOOK_NS
        ):
            frame = next(self._frames, None)
            if frame is None:
                self._has_ended = True
            elif (met := self._met(frame)) is not None:
                self._waiting.append(met)
                self._keys[met.key] = met

    def _met(self, frame: Frame) -> _Met | None:
        body = frame.body
        try:
            decoded = self._decoders.decode(body, frame.recv_ns)
            if decoded is not None and decoded.topic.startswith(_MADE_HERE):
                return None
            if body.startswith(f'{{"topic":"{OWN}part.'.encode()):
                body = bytes(_PART.decode(body).message)
                decoded = self._decoders.decode(body, frame.recv_ns)
        except RejectedMessage:
            decoded = None
        if decoded is None:
            digest = blake2b(body, digest_size=16).digest()
            return self._numbered(("unknown", digest), digest, TimedMessage(frame.recv_ns, body), is_start=False)
        records = decoded.records
        content = blake2b(records.tobytes(), digest_size=16).digest()
        event_ns = int(records["event_ns"][0])
        if decoded.kind == ORDERBOOK and decoded.book is not None:
            key: tuple[object, ...] = (
                decoded.topic,
                decoded.book.first_id,
                decoded.book.last_id,
                decoded.book.replaces,
            )
        elif decoded.kind == KLINE:
            key = (decoded.topic, event_ns, int(records["update_id"][0]), len(records))
        elif any(trade is not None for trade in decoded.trade_ids):
            key = (decoded.topic, decoded.trade_ids)
        else:
            key = (decoded.topic, event_ns, content)
        is_start = decoded.topic.startswith(_START)
        return self._numbered(key, content, TimedMessage(frame.recv_ns, body), is_start=is_start)

    def _numbered(self, key: tuple[object, ...], content: bytes, message: TimedMessage, *, is_start: bool) -> _Met:
        number, _ = self._numbers.get(key, (0, 0))
        self._numbers[key] = number + 1, message.recv_ns
        if len(self._numbers) >= MOST_KNOWN:
            known_from_ns = message.recv_ns - KNOWN_NS
            self._numbers = {each: met for each, met in self._numbers.items() if met[1] >= known_from_ns}
        return _Met((*key, number), content, message, is_start)


def merged_in_time(streams: list[Iterator[TimedMessage]]) -> Iterator[TimedMessage]:
    """Streams of several symbols as one, the earliest head first; each keeps its order."""
    heads = [(message, stream) for stream in streams if (message := next(stream, None)) is not None]
    while heads:
        at = min(range(len(heads)), key=lambda each: heads[each][0].recv_ns)
        message, stream = heads[at]
        yield message
        following = next(stream, None)
        if following is None:
            del heads[at]
        else:
            heads[at] = following, stream
