"""The referee: what is true of a stream with faults in it, by a plain order book and a plain list of trades.

It is given what comes and, beside it, what nobody who serves can know: which numbering a message belongs to, and
whether it came before. It tells the oracle what is true, and judges what was served: a value is the oracle's, or it is
NaN with a reason. Where books of other markets of the name come beside, a row may be of one of them, as long as that
one is heard: none is made of two markets. What the oracle knows and a row does not is no fault, but its share is
counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from market.book_sequence import RESTART_ID
from market.clock import SECOND_NS, floor_to
from quality.oracle.book import Book
from quality.oracle.market import SLOT_NS, Oracle
from quality.oracle.rows import UNKNOWN, OracleRow
from tests.oracle.delivered import Delivered, levels_of
from tests.oracle.messages import tell
from transforms.catalogue import FEATURES
from transforms.declaration import BOOK, TRADES
from transforms.rows import FeatureRows
from transforms.status import OK

JUDGED: Final = ("price", "orderbook", "orderflow", "perpetual")
SILENT_NS: Final = 10 * SECOND_NS
OTHER_NS: Final = SILENT_NS + SECOND_NS
"""So long after its last message a row may be of another market: until this one is heard after it was silent."""
BOOK_GROUPS: Final = ("price", "orderbook")


class Referee:
    """Of one symbol; messages are told as they were handled, rows as they were closed."""

    def __init__(self) -> None:
        self.values = self.known = self.rows = 0
        """Values that were judged, those of them that were served as numbers, and rows."""
        self.known_of: Counter[str] = Counter()
        """Known values by feature."""
        self._oracle = Oracle()
        self._others: dict[int, tuple[Oracle, int]] = {}  # by market, with when it was heard last
        self._waiting: list[tuple[int, Delivered]] = []
        self._closed_ns = 0
        self._last_stamp_ns: dict[str, int] = {}
        self._depth = 0
        self._heard_ns = 0
        self._books: dict[int, tuple[int, Book]] = {}  # by depth, with its numbering
        self._newest_ids: dict[int, int] = {}  # of that numbering, whether the message could be used or not
        self._trades: set[str] = set()
        self._delivered: set[str] = set()
        self._lost_trades_ns: list[int] = []

    def take(self, message: Delivered) -> None:
        """A message was handled: it is in the rows after its stamp, which no message of its kind comes before."""
        if message.said is None:
            return
        if message.topic == "publicTrade" and not message.is_unusable:
            trades = {trade["i"] for trade in message.said["data"]}
            if trades <= self._delivered:
                return  # none is new: it goes no further, and its stamp holds nothing up
            self._delivered |= trades
        last_ns = self._last_stamp_ns.get(message.topic, 0)
        stamp_ns = max(message.recv_ns, self._closed_ns, last_ns)
        self._last_stamp_ns[message.topic] = stamp_ns
        if not self._oracle.began_ns:
            self._oracle.begin(stamp_ns)
            self._closed_ns = floor_to(stamp_ns, SECOND_NS)
        self._waiting.append((stamp_ns, message))

    def judge(self, rows: FeatureRows) -> list[str]:
        """What is wrong of rows that were closed now."""
        wrong: list[str] = []
        for index, row_ns in enumerate(rows.row_ns.tolist()):
            self._apply_until(row_ns)
            self._closed_ns = max(self._closed_ns, row_ns)
            self.rows += 1
            exact = self._oracle.row(row_ns, JUDGED)
            wrong += self._judge_row(rows, index, exact)
        return wrong

    def _apply_until(self, row_ns: int) -> None:
        due = [each for each in self._waiting if each[0] < row_ns]
        self._waiting = [each for each in self._waiting if each[0] >= row_ns]
        for slot in sorted({stamp_ns // SLOT_NS for stamp_ns, _ in due}):
            for stamp_ns, message in due:
                if stamp_ns // SLOT_NS == slot:
                    self._apply(stamp_ns, message)
            for oracle in (self._oracle, *(other for other, _ in self._others.values())):
                oracle.end_slot(slot)

    def _apply(self, stamp_ns: int, message: Delivered) -> None:
        assert message.said is not None
        if message.topic == "orderbook":
            self._apply_book(stamp_ns, message)
        elif message.topic == "publicTrade":
            self._apply_trades(stamp_ns, message)
        elif message.topic == "tickers" and message.is_unusable:
            self._oracle.begin(stamp_ns, "TICKERS")  # what it would have changed is unknown
        elif not message.is_unusable:
            tell(self._oracle, stamp_ns, message.said)

    def _apply_trades(self, stamp_ns: int, message: Delivered) -> None:
        if message.is_unusable:
            self._lost_trades_ns.append(stamp_ns)
            return
        for trade in (message.said or {})["data"]:
            if trade["i"] not in self._trades:
                self._trades.add(trade["i"])
                self._oracle.trade(stamp_ns, Fraction(trade["p"]), Fraction(trade["v"]), buy=trade["S"] == "Buy")

    def _apply_book(self, stamp_ns: int, message: Delivered) -> None:
        said: dict[str, Any] = message.said or {}
        if message.market:
            self._apply_other(stamp_ns, message)
            return
        if message.is_again:
            return  # the tape has it: nothing is heard by it
        depth = int(said["topic"].split(".")[1])
        is_snapshot = said["type"] == "snapshot" or said["data"]["u"] == RESTART_ID
        if depth != self._depth:
            is_silent = stamp_ns - self._heard_ns > SILENT_NS
            if self._depth and not is_silent and not (is_snapshot and depth > self._depth):
                return
            self._depth = depth
        self._heard_ns = stamp_ns
        slot = stamp_ns // SLOT_NS
        epoch, book = self._books.get(depth, (-1, Book()))
        update_id = said["data"]["u"]
        if message.epoch < epoch:
            return
        if message.epoch > epoch and not is_snapshot:
            book.give_up(slot)
        if message.epoch == epoch and update_id < self._newest_ids[depth]:
            return  # it comes late: a snapshot of it would be the book of before
        self._newest_ids[depth] = update_id
        self._books[depth] = message.epoch, book
        self._oracle.book = book
        if message.is_unusable:
            book.give_up(slot)
            return
        bids, asks = levels_of(said["data"])
        book.apply(slot, replaces=is_snapshot, update_id=update_id, bids=bids, asks=asks)

    def _apply_other(self, stamp_ns: int, message: Delivered) -> None:
        """An order book message of another market, which has no trades here."""
        said: dict[str, Any] = message.said or {}
        other, _ = self._others.get(message.market, (Oracle(), 0))
        self._others[message.market] = other, stamp_ns
        if int(said["topic"].split(".")[1]) == self._depth:
            self._heard_ns = stamp_ns
        if not message.is_again and not message.is_unusable:
            bids, asks = levels_of(said["data"])
            replaces = said["type"] == "snapshot"
            other.book.apply(stamp_ns // SLOT_NS, replaces=replaces, update_id=said["data"]["u"], bids=bids, asks=asks)

    def _rows_of_others(self, row_ns: int) -> Iterator[OracleRow]:
        """What other markets that are heard have in a row."""
        for other, heard_ns in self._others.values():
            if heard_ns >= row_ns - OTHER_NS:
                yield other.row(row_ns, BOOK_GROUPS)

    def _judge_row(self, rows: FeatureRows, index: int, exact: OracleRow) -> list[str]:
        wrong = []
        of_book: dict[str, float] = {}
        for column, name in enumerate(rows.feature_set.columns):
            declared = FEATURES[name]
            if declared.group not in JUDGED:
                continue
            value = float(rows.values[index, column])
            self.values += 1
            if math.isnan(value):
                assert rows.reasons is not None
                if rows.reasons[index, column] == OK:
                    wrong.append(f"{name}: must have a reason to be unknown")
                continue
            self.known += 1
            self.known_of[name] += 1
            if declared.source is BOOK:
                of_book[name] = value
                continue
            true = exact.values.get(name, UNKNOWN)
            if declared.source is TRADES and self._is_trade_lost(exact.row_ns - declared.horizon_ns, exact.row_ns):
                true = UNKNOWN
            if not true.agrees(value):
                wrong.append(f"{name}: must be {true}, was {value!r}")
        wrong += self._differing(of_book, exact)
        return [f"row {exact.row_ns}: {each}" for each in wrong]

    def _differing(self, values: dict[str, float], exact: OracleRow) -> list[str]:
        """What is not as true of the values of an order book; nothing where all are those of another that is heard."""
        differing = [name for name, value in values.items() if not exact.values.get(name, UNKNOWN).agrees(value)]
        if differing:  # most rows need no other
            for other in self._rows_of_others(exact.row_ns):
                if all(other.values.get(name, UNKNOWN).agrees(value) for name, value in values.items()):
                    return []
        return [f"{name}: must be {exact.values.get(name, UNKNOWN)}, was {values[name]!r}" for name in differing]

    def _is_trade_lost(self, from_ns: int, to_ns: int) -> bool:
        return any(from_ns <= lost_ns < to_ns for lost_ns in self._lost_trades_ns)
