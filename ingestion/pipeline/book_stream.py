"""The order book stream of one symbol: which messages belong to it, and where it began again without saying so.

1. One depth is kept to, each having its own ``u``. A deeper one takes its place with a snapshot of its own, any other
   once the present one is silent.
2. ``u`` at or below the last, in a message that is later by ``seq`` or by the exchange's clock, or far below it, is no
   message seen before: the exchange restarted and its snapshot was missed. The book is lost.
3. Where a snapshot of another numbering comes and the old numbering goes on after it, two streams are mixed, such as
   spot and linear of one name. The book is lost; the numbering that went on is kept to while it is heard.
4. A snapshot older than the last message, by ``seq`` and by the exchange's clock, comes again or late and is ignored.
   One of a valid book that does not go on from the last message says that messages between were missed.
5. What is lost is marked on the tape before the message: a replay and a rebuild see the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ingestion.decoding.decode import DecodedMessage
from market.clock import SECOND_NS
from market.events import GAP, RESTART_ID, SNAPSHOT, START

SILENT_NS: Final = 10 * SECOND_NS
"""How long the stream that is kept to may be silent before another may take its place."""
FAR_BELOW: Final = 10_000
"""Further behind than any message that is delivered again: minutes of the fastest stream."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a message. mark: GAP or START, to be written on the tape first; None is nothing."""

    is_taken: bool
    mark: int | None = None
    reason: str = ""


TAKEN: Final = Judgement(is_taken=True)
IGNORED: Final = Judgement(is_taken=False)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a stream stands: the number, the exchange's ``seq`` and the time of its last message."""

    update_id: int
    seq: int | None
    event_ns: int

    def is_before(self, other: _Place) -> bool:
        """Whether the other is later, by what both state."""
        if self.seq is not None and other.seq is not None and other.seq > self.seq:
            return True
        return other.event_ns > self.event_ns


class BookStream:
    """Where one symbol's order book stands, told by the messages on its tape."""

    def __init__(self) -> None:
        self.is_valid = False
        self._depth: int | None = None
        self._heard_ns = 0
        self._last: _Place | None = None
        self._left: _Place | None = None  # where the numbering stood that a snapshot of another took the place of
        self._foreign_id: int | None = None  # of the last message of a stream that is ignored, and when it came
        self._foreign_heard_ns = 0

    def judge(self, message: DecodedMessage, recv_ns: int) -> Judgement:
        """What becomes of a message that comes next."""
        place, is_snapshot, depth = _read(message)
        last = self._last
        if last is None or self._depth is None:
            return TAKEN
        is_silent = recv_ns - self._heard_ns > SILENT_NS
        if depth != self._depth:
            return self._judge_depth(depth, is_snapshot=is_snapshot, is_silent=is_silent)
        if self._is_foreign(place, recv_ns) and not is_silent:
            self._foreign_id, self._foreign_heard_ns = place.update_id, recv_ns
            return IGNORED
        if is_snapshot:
            return self._judge_snapshot(last, place, is_silent=is_silent)
        if place.update_id == last.update_id + 1:
            return TAKEN
        left = self._left
        if left is not None and place.update_id == left.update_id + 1 and last.is_before(place):
            self._foreign_id, self._foreign_heard_ns = last.update_id, recv_ns
            self._last, self._left = left, None
            return Judgement(is_taken=True, mark=GAP, reason="order books of two streams are mixed")
        if self.is_valid and place.update_id <= last.update_id and _is_restart(last, place):
            reason = f"order book began again at u {place.update_id} after {last.update_id}"
            return Judgement(is_taken=True, mark=GAP, reason=reason)
        return TAKEN

    def note(self, message: DecodedMessage, recv_ns: int) -> None:
        """The message is on the tape."""
        place, is_snapshot, depth = _read(message)
        is_other_depth, self._depth = depth != self._depth, depth
        self._heard_ns = recv_ns
        last = self._last
        if is_snapshot:
            is_known = self.is_valid and last is not None and place.update_id not in (RESTART_ID, last.update_id + 1)
            self._left = last if is_known and not is_other_depth else None
            self._last = place
            self.is_valid = True
        elif last is None:
            self._last = place  # a tape read from its middle: the book may well be valid
            self.is_valid = True
        elif not self.is_valid or place.update_id == last.update_id + 1:
            self._last = place
        elif place.update_id > last.update_id + 1:
            self._left, self._last = last, place
            self.is_valid = False

    def break_off(self) -> None:
        """The book is lost until the next snapshot."""
        self.is_valid = False

    def _judge_snapshot(self, last: _Place, place: _Place, *, is_silent: bool) -> Judgement:
        """One that comes again, or late, is older than what is known; one further on says that messages were missed."""
        if place.is_before(last) and not last.is_before(place) and not is_silent:
            return IGNORED
        if self.is_valid and place.update_id not in (RESTART_ID, last.update_id, last.update_id + 1):
            reason = f"order book goes on at u {place.update_id} after {last.update_id}"
            return Judgement(is_taken=True, mark=START, reason=reason)
        return TAKEN

    def _judge_depth(self, depth: int, *, is_snapshot: bool, is_silent: bool) -> Judgement:
        assert self._depth is not None
        if not is_silent and not (is_snapshot and depth > self._depth):
            return IGNORED
        reason = f"order book of {depth} levels takes the place of {self._depth}"
        return Judgement(is_taken=True, mark=START if is_snapshot else GAP, reason=reason)

    def _is_foreign(self, place: _Place, recv_ns: int) -> bool:
        if self._foreign_id is None or self._last is None:
            return False
        if place.update_id in (RESTART_ID, self._last.update_id + 1):
            return False
        # A stream that has ended says nothing of a numbering near its own that comes later.
        if recv_ns - self._foreign_heard_ns > SILENT_NS:
            return False
        return abs(place.update_id - self._foreign_id) < abs(place.update_id - self._last.update_id)


def _is_restart(last: _Place, place: _Place) -> bool:
    return last.is_before(place) or place.update_id < last.update_id - FAR_BELOW


def _read(message: DecodedMessage) -> tuple[_Place, bool, int]:
    """Where a message stands, whether it replaces the book, and its depth."""
    first = message.records[0]
    update_id = int(first["update_id"])
    is_snapshot = bool(first["flags"] & SNAPSHOT) or update_id == RESTART_ID
    return _Place(update_id, message.book_seq, int(first["event_ns"])), is_snapshot, int(message.topic.split(".")[1])
