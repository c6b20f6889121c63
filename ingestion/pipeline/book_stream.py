"""The order book stream of one symbol: which messages belong to it, and where it began again without saying so.

1. One depth is kept to, each having its own numbering; what was learned of another's is forgotten. A deeper one takes
   its place with a snapshot of its own, any other once the present one is silent.
2. An update at or below the last, in a message that is later by ``seq`` or by the exchange's clock, or far below it, is
   no message seen before: the exchange restarted and its snapshot was missed. The book is lost.
3. Where a snapshot of another numbering comes and the old numbering continues after it, two streams are mixed, such as
   spot and linear of one name. The book is lost; the numbering that went on is kept to while it is heard. Numbers that
   neither can have come to in the time between lose the book again.
4. A snapshot older than the last message, by ``seq`` and by the exchange's clock, comes again or late and is ignored.
   So is a snapshot that states again the book before a message that was lost, and an update that seems further on: it
   is of the numbering before a restart, and not another stream. An older ``seq`` says the same of the next update.
   A snapshot that is not the repair of the book that was known last says that messages between were missed: an order
   book that starts again, another market's, one that was away for longer than its numbers show.
5. What is lost is marked on the tape before the message: a replay and a rebuild see the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ingestion.decoding.decoded import DecodedMessage
from market.book_sequence import RESTART_ID, BookPlace, Step, step_after
from market.clock import MILLISECOND_NS, SECOND_NS
from market.events import GAP, START

SILENT_NS: Final = 10 * SECOND_NS
"""How long the stream that is kept to may be silent before another may take its place."""
FAR_BELOW: Final = 10_000
"""Further behind than any message that is delivered again: minutes of the fastest stream."""
FASTEST_NS: Final = 10 * MILLISECOND_NS
"""No order book is sent oftener."""
REPAIR_SLACK: Final = 100
"""Numbers that a repaired book may be further on: clocks and deliveries are not exact."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a message. mark: GAP or START, to be written on the tape first; None is nothing."""

    is_taken: bool
    mark: int | None = None
    reason: str = ""


TAKEN: Final = Judgement(is_taken=True)
IGNORED: Final = Judgement(is_taken=False)


class _Heard(NamedTuple):
    """An order book message, with its time by the exchange's clock."""

    place: BookPlace
    event_ns: int

    @property
    def update_id(self) -> int:
        """The last of its updates."""
        return self.place.last_id

    def step(self, following: _Heard) -> Step:
        """What a message means for the current book."""
        return step_after(self.place.last_id, following.place.first_id, following.place.last_id)

    def is_before(self, other: _Heard) -> bool:
        """Whether the other is later, by what both state."""
        seq, other_seq = self.place.seq, other.place.seq
        if seq is not None and other_seq is not None and other_seq > seq:
            return True
        return other.event_ns > self.event_ns

    def is_older_than(self, other: _Heard) -> bool:
        """Whether it is the earlier one by ``seq`` and not the later one by the clock; by the clock without ``seq``.

        A snapshot joined of an answer and the changes after it has the newest change's ``seq`` and the answer's time.
        """
        seq, other_seq = self.place.seq, other.place.seq
        if seq is None or other_seq is None:
            return self.event_ns < other.event_ns
        return seq < other_seq and self.event_ns <= other.event_ns

    def is_no_later_than(self, other: _Heard) -> bool:
        """Whether it is of the same update."""
        is_same = (self.update_id, self.place.seq) == (other.update_id, other.place.seq)
        return is_same and self.event_ns <= other.event_ns

    def may_be_repaired_by(self, snapshot: _Heard) -> bool:
        """Whether the snapshot's book can be this one later: no further on than was sent in the time between."""
        seq, later_seq = self.place.seq, snapshot.place.seq
        if seq is not None and later_seq is not None and later_seq < seq:
            return False
        most = max(snapshot.event_ns - self.event_ns, 0) // FASTEST_NS + REPAIR_SLACK
        return 0 <= snapshot.update_id - self.update_id <= most


class StreamState(NamedTuple):
    """A stream, for a checkpoint. heard: the messages it remembers, each once. places: which of them is which."""

    is_valid: bool
    missed: tuple[int, int] | None
    depth: int | None
    heard_ns: int
    foreign_heard_ns: int
    heard: tuple[_Heard, ...]
    places: tuple[int | None, ...]


class BookStream:
    """The state of one symbol's order book, from the messages on its tape."""

    def __init__(self) -> None:
        self.is_valid = False
        self.missed: tuple[int, int] | None = None
        """First and last number of the messages that the last gap was of."""
        self._depth: int | None = None
        self._heard_ns = 0
        self._last: _Heard | None = None
        self._whole: _Heard | None = None  # the last message that the book was known at
        self._left: _Heard | None = None  # where the numbering stood that a snapshot of another took the place of
        self._lost_after: _Heard | None = None  # the last message before one that was lost
        self._foreign: _Heard | None = None  # the last message of a stream that is ignored, and when it came
        self._foreign_heard_ns = 0
        self._judged: tuple[DecodedMessage, _Heard] | None = None  # so that ``note`` need not read it again

    def state(self) -> StreamState:
        """What ``restore`` continues from."""
        heard: list[_Heard] = []
        places: list[int | None] = []
        for each in (self._last, self._whole, self._left, self._lost_after, self._foreign):
            # Two that say the same may be two messages: ``is_lost`` tells them apart.
            found = [at for at, known in enumerate(heard) if known is each]
            if each is not None and not found:
                heard.append(each)
                found = [len(heard) - 1]
            places.append(None if each is None else found[0])
        heard_ns = self._heard_ns, self._foreign_heard_ns
        return StreamState(self.is_valid, self.missed, self._depth, *heard_ns, tuple(heard), tuple(places))

    def restore(self, state: StreamState) -> None:
        """Be as ``state`` was."""
        self.is_valid, self.missed, self._depth = state.is_valid, state.missed, state.depth
        self._heard_ns, self._foreign_heard_ns = state.heard_ns, state.foreign_heard_ns
        known = (None if at is None else state.heard[at] for at in state.places)
        self._last, self._whole, self._left, self._lost_after, self._foreign = known

    def judge(self, message: DecodedMessage, recv_ns: int) -> Judgement:
        """What becomes of a message that comes next."""
        heard = _read(message)
        self._judged = message, heard
        last, place = self._last, heard.place
        if last is None or self._depth is None:
            return TAKEN
        is_silent = recv_ns - self._heard_ns > SILENT_NS
        if place.depth != self._depth:
            return self._judge_depth(place, is_silent=is_silent)
        if self._is_foreign(heard, recv_ns) and not is_silent:
            self._foreign, self._foreign_heard_ns = heard, recv_ns
            return IGNORED
        if place.replaces:
            return self._judge_snapshot(last, heard, is_silent=is_silent)
        step = last.step(heard)
        if step is Step.FOLLOWS:
            is_of_before = place.seq is not None and heard.is_older_than(last) and not is_silent
            return IGNORED if is_of_before else TAKEN
        left = self._left
        if left is not None and left.step(heard) is Step.FOLLOWS and last.is_before(heard):
            self._foreign, self._foreign_heard_ns = last, recv_ns
            self._last, self._left = left, None
            return Judgement(is_taken=True, mark=GAP, reason="order books of two streams are mixed")
        if self.is_valid and step is Step.GAP and heard.is_older_than(last) and not is_silent:
            return IGNORED
        if self.is_valid and step is Step.REPEATED and _is_restart(last, heard):
            reason = f"order book began again at u {heard.update_id} after {last.update_id}"
            return Judgement(is_taken=True, mark=GAP, reason=reason)
        return TAKEN

    def take_next(self, update_id: int, seq: int | None, *, depth: int, event_ns: int, recv_ns: int) -> bool:
        """Whether ``judge`` would take a message of one update without a mark, as the next of a known book; notes it.

        False says nothing of a message, and changes nothing.
        """
        last = self._last
        if last is None or not self.is_valid or depth != self._depth or update_id != last.place.last_id + 1:
            return False
        last_seq = last.place.seq
        if seq is not None and event_ns <= last.event_ns and (last_seq is None or seq < last_seq):
            return False
        self._last = self._whole = _Heard(BookPlace(update_id, update_id, depth, replaces=False, seq=seq), event_ns)
        self._heard_ns = recv_ns
        return True

    def note(self, message: DecodedMessage, recv_ns: int) -> None:
        """The message is on the tape."""
        judged, self._judged = self._judged, None
        heard = judged[1] if judged is not None and judged[0] is message else _read(message)
        is_other_depth, self._depth = heard.place.depth != self._depth, heard.place.depth
        self._heard_ns = recv_ns
        if is_other_depth:  # whose numbering has nothing to do with those of the one before
            self._left = self._foreign = None
        last = self._last
        step = None if last is None else last.step(heard)
        if heard.place.replaces:
            is_known = self.is_valid and step not in (None, Step.FOLLOWS) and heard.update_id != RESTART_ID
            self._left = last if is_known and not is_other_depth else None
            self._last = self._whole = heard
            self._lost_after = None
            self.is_valid = True
        elif last is None or step is None:
            self._last = self._whole = heard  # a tape read from its middle: the book may well be valid
            self.is_valid = True
        elif not self.is_valid:
            self._last = heard
        elif step is Step.FOLLOWS:
            self._last = self._whole = heard
        elif step is Step.GAP:
            self.missed = last.update_id + 1, heard.place.first_id - 1
            self._left, self._last = last, heard
            self.is_valid = False

    def lose(self, *, is_a_message: bool) -> None:
        """The book is lost until the next snapshot; where a message is, until one of a later update than the last."""
        if is_a_message:
            self._lost_after = self._last
        self.is_valid = False

    @property
    def is_lost(self) -> bool:
        """Whether a message that is lost now makes nothing unknown that was not before."""
        return not self.is_valid and self._lost_after is self._last

    def _judge_snapshot(self, last: _Heard, heard: _Heard, *, is_silent: bool) -> Judgement:
        """One that comes again or late is ignored; one that does not repair the last known book starts a new one."""
        # The last message may be another market's, whose ``seq`` says nothing: the book that was known counts too.
        is_late = heard.is_older_than(last) or (self._whole is not None and heard.is_older_than(self._whole))
        is_late = is_late or (self._lost_after is not None and heard.is_no_later_than(self._lost_after))
        if is_late and not is_silent:
            return IGNORED
        if self._whole is None or self._goes_on(self._whole, heard):
            return TAKEN
        reason = f"order book goes on at u {heard.update_id} after {self._whole.update_id}"
        return Judgement(is_taken=True, mark=START, reason=reason)

    def _goes_on(self, whole: _Heard, heard: _Heard) -> bool:
        """Whether a snapshot is of the book that was known last, none of whose messages was missed but by a gap."""
        if self.is_valid:
            return heard.update_id == whole.update_id or whole.step(heard) is Step.FOLLOWS
        return heard.update_id != RESTART_ID and whole.may_be_repaired_by(heard)

    def _judge_depth(self, place: BookPlace, *, is_silent: bool) -> Judgement:
        assert self._depth is not None
        if not is_silent and not (place.replaces and place.depth > self._depth):
            return IGNORED
        reason = f"order book of {place.depth} levels takes the place of {self._depth}"
        return Judgement(is_taken=True, mark=START if place.replaces else GAP, reason=reason)

    def _is_foreign(self, heard: _Heard, recv_ns: int) -> bool:
        foreign = self._foreign
        if foreign is None or self._last is None:
            return False
        if heard.update_id == RESTART_ID or self._last.step(heard) is Step.FOLLOWS:
            return False
        # As near as a gap of this stream's own: to ignore it would let the book stand still.
        is_near = abs(foreign.update_id - self._last.update_id) <= REPAIR_SLACK
        if is_near or self._last.may_be_repaired_by(heard):
            return False
        # A stream that has ended says nothing of a numbering near its own that comes later.
        if recv_ns - self._foreign_heard_ns > SILENT_NS:
            return False
        # Numbers that its own cannot have come to are of neither.
        if not (foreign.may_be_repaired_by(heard) or heard.may_be_repaired_by(foreign)):
            return False
        return abs(heard.update_id - foreign.update_id) < abs(heard.update_id - self._last.update_id)


def _is_restart(last: _Heard, heard: _Heard) -> bool:
    return last.is_before(heard) or heard.update_id < last.update_id - FAR_BELOW


def _read(message: DecodedMessage) -> _Heard:
    assert message.book is not None, "it is of an order book"
    return _Heard(message.book, int(message.records["event_ns"][0]))
