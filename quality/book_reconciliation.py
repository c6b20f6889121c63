"""The order book of the tape against that of an archive: whole states, level by level, where both stand at one number.

1. Both streams are walked by the number that rises over depths and restarts. A state is compared where both have a
   message of the same number and either replaces its book, and once a minute besides.
2. Of two depths as many levels are compared as the shallower one has. A book that lost its sequence has no state until
   it is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from market.book_sequence import BookPlace, Step, step_after
from market.clock import MINUTE_NS
from market.events import ASK, BID, Events
from quality.reconciliation import Check, Scale

SIDES: Final = {BID: "bid", ASK: "ask"}


class BookMessage(NamedTuple):
    """An order book message and what names it."""

    place: BookPlace
    records: Events
    source: str


@dataclass(slots=True)
class _Book:
    """A book as its messages leave it. sides: quantity by price, mantissas. last_id: None while it is invalid."""

    sides: dict[int, dict[int, int]] = field(default_factory=lambda: {BID: {}, ASK: {}})
    last_id: int | None = None
    gaps: int = 0

    def apply(self, message: BookMessage) -> None:
        place = message.place
        if place.replaces:
            self.sides = {BID: {}, ASK: {}}
        elif self.last_id is None:
            return
        elif (step := step_after(self.last_id, place.first_id, place.last_id)) is not Step.FOLLOWS:
            if step is Step.GAP:
                self.gaps += 1
                self.last_id = None
            return
        self.last_id = place.last_id
        records = message.records
        for side, levels in self.sides.items():
            of_side = records[records["field"] == side]
            for px, qty in zip(of_side["px"].tolist(), of_side["qty"].tolist(), strict=True):
                if qty:
                    levels[px] = qty
                else:
                    levels.pop(px, None)

    def levels(self, side: int, depth: int) -> list[tuple[int, int]]:
        """The best levels first."""
        return sorted(self.sides[side].items(), reverse=side == BID)[:depth]


def compare_books(live: Iterable[BookMessage], archive: Iterable[BookMessage], scale: Scale) -> Check:
    """Both in the order of their streams; the archive's are few enough to be walked, the tape's pass once."""
    check = Check("orderbook", dict.fromkeys(("compared", "different", "not_met", "gaps"), 0))
    ours, theirs = _Book(), _Book()
    lived = _numbered(live)
    ahead = next(lived, None)
    minute, has_any = -1, False
    for old in _numbered(archive):
        has_any = True
        theirs.apply(old)
        while ahead is not None and _seq(ahead) < _seq(old):
            ours.apply(ahead)
            ahead = next(lived, None)
        is_met = ahead is not None and _seq(ahead) == _seq(old)
        at_ns = int(old.records["event_ns"][0])
        if not is_met or ahead is None:
            check.count("not_met", int(old.place.replaces))
            continue
        ours.apply(ahead)
        is_due = old.place.replaces or ahead.place.replaces or at_ns // MINUTE_NS != minute
        if is_due and ours.last_id is not None and theirs.last_id is not None:
            minute = at_ns // MINUTE_NS
            _compare(check, (ours, theirs), (ahead, old), scale)
        ahead = next(lived, None)
    while ahead is not None:
        ours.apply(ahead)
        ahead = next(lived, None)
    check.counts["gaps"] = ours.gaps
    if not check.counts["compared"]:
        check.unchecked = (
            "no message of the tape has the number of one of the archive" if has_any else "the archive holds no book"
        )
    return check


def _compare(check: Check, books: tuple[_Book, _Book], messages: tuple[BookMessage, BookMessage], scale: Scale) -> None:
    check.count("compared")
    depth = min(message.place.depth for message in messages)
    at_ns = int(messages[1].records["event_ns"][0])
    is_different = False
    for side, name in SIDES.items():
        lived, old = (dict(book.levels(side, depth)) for book in books)
        for px in sorted(lived.keys() | old.keys()):
            if lived.get(px) != old.get(px):
                is_different = True
                values = tuple(None if of.get(px) is None else scale.qty(of[px]) for of in (lived, old))
                what = f"{name} at {scale.px(px)}"
                check.find(at_ns, what, (values[0], values[1]), (messages[0].source, messages[1].source))
    check.count("different", int(is_different))


def _numbered(messages: Iterable[BookMessage]) -> Iterator[BookMessage]:
    """Those that have a number, of the depth of the first."""
    depth: int | None = None
    for message in messages:
        if message.place.seq is None:
            continue
        depth = message.place.depth if depth is None else depth
        if message.place.depth == depth:
            yield message


def _seq(message: BookMessage) -> int:
    assert message.place.seq is not None, "skipped without"
    return message.place.seq
