"""What event records state, given to the oracle: each source separately, from as far back as its windows see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Final, NamedTuple

from market.clock import MINUTE_NS, SECOND_NS
from market.events import (
    ASK,
    BID,
    BUY,
    CANDLE,
    CONFIRMED,
    CONTROL,
    FIRST,
    GAP,
    HISTORY,
    KLINE,
    LAST,
    NO_TICKER_FIELD,
    OPEN,
    ORDERBOOK,
    POSITION,
    POSITION_FIELD_COUNT,
    SNAPSHOT,
    START,
    TICKER,
    TRADE,
    TURNOVER,
    UNKNOWN,
)
from market.instruments import FUNDING_RATE_EXPONENT, POSITION_EXPONENT, Instrument
from quality.oracle.candles import Candle
from quality.oracle.market import SLOT_NS, TICKER_FIELDS, Oracle

KINDS: Final = {
    "BOOK": ORDERBOOK,
    "TRADES": TRADE,
    "KLINES": KLINE,
    "TICKERS": TICKER,
    "POSITIONS": POSITION,
    "BARS": CANDLE,
}
"""The kind of a source's records."""
POSITION_FIELDS: Final = ("size", "unrealized", "realized", "entry")


class Record(NamedTuple):
    """One event record, its fields those of ``market.events`` in their order."""

    recv_ns: int
    event_ns: int
    seq: int
    update_id: int
    px: int
    qty: int
    kind: int
    field: int
    flags: int


@dataclass(frozen=True)
class Teller:
    """Tells an oracle the records of one symbol."""

    oracle: Oracle
    instrument: Instrument

    def tell(self, source: str, records: Iterable[Record]) -> None:
        """A source's records and CONTROL, in tape order, after its history has begun; those of others are left out.

        Every source is given once, in any order: none reads what another states.
        """
        in_slots = sorted(records, key=lambda record: record.recv_ns // SLOT_NS)  # of a slot, as they stand on the tape
        for slot, of_slot in groupby(in_slots, lambda record: record.recv_ns // SLOT_NS):
            for message in _messages(of_slot):
                if message[0].kind == CONTROL:
                    self._tell_control(source, message[0])
                elif message[0].kind == KINDS[source]:
                    heard = f"{source} {message[0].qty}" if source == "BARS" else source
                    self.oracle.heard(heard, message[0].recv_ns)
                    self._tell_message(source, message)
            if source == "BOOK":
                self.oracle.end_slot(slot)

    def _tell_control(self, source: str, record: Record) -> None:
        if record.field == START and record.px in (CONTROL, KINDS[source]):
            self.oracle.begin(record.recv_ns, source)
        elif record.field == HISTORY and record.px == KINDS[source]:
            self.oracle.begin_earlier(record.update_id, source)
        elif record.field == GAP and source == "BOOK":
            self.oracle.book.give_up(record.recv_ns // SLOT_NS)

    def _tell_message(self, source: str, message: list[Record]) -> None:
        if source == "BOOK":
            self._tell_book(message)
        elif source == "TRADES":
            for each in message:
                self.oracle.trade(each.recv_ns, self._price(each.px), self._quantity(each.qty), buy=each.field == BUY)
        elif source in ("KLINES", "BARS"):
            self._tell_candles(message, minutes=message[0].qty if source == "BARS" else 1)
        elif source == "TICKERS":
            for each in message:
                if each.field < NO_TICKER_FIELD:
                    self._state(TICKER_FIELDS[each.field], each, self._ticker_exponents()[TICKER_FIELDS[each.field]])
        else:
            for each in message:
                if each.field < POSITION_FIELD_COUNT:
                    self._state(POSITION_FIELDS[each.field], each, POSITION_EXPONENT)

    def _tell_book(self, message: list[Record]) -> None:
        first = message[0]
        bids, asks = (
            [
                (
                    Decimal(each.px).scaleb(-self.instrument.price_exponent),
                    Decimal(each.qty).scaleb(-self.instrument.quantity_exponent),
                )
                for each in message
                if each.field == side
            ]
            for side in (BID, ASK)
        )
        self.oracle.book.apply(
            first.recv_ns // SLOT_NS,
            replaces=bool(first.flags & SNAPSHOT),
            update_id=first.update_id,
            bids=bids,
            asks=asks,
        )

    def _tell_candles(self, message: list[Record], *, minutes: int) -> None:
        """A message may state several candles, each from OPEN to TURNOVER."""
        stated: list[Record] = []
        for each in message:
            stated = [each] if each.field == OPEN else [*stated, each]
            if each.field == TURNOVER and each.flags & CONFIRMED:
                numbers = [*(self._price(of.px) for of in stated[:4]), self._quantity(stated[4].px)]
                self.oracle.candle(each.update_id, Candle(each.recv_ns, *numbers), minutes)

    def _state(self, name: str, record: Record, exponent: int) -> None:
        number = None if record.px == UNKNOWN else Fraction(record.px, 10**exponent)
        self.oracle.state(name, record.recv_ns, number)

    def _ticker_exponents(self) -> Mapping[str, int]:
        return {
            "fundingRate": FUNDING_RATE_EXPONENT,
            "nextFundingTime": 0,
            "openInterest": self.instrument.quantity_exponent,
            "markPrice": self.instrument.price_exponent,
            "indexPrice": self.instrument.price_exponent,
        }

    def _price(self, mantissa: int) -> Fraction:
        return Fraction(mantissa, 10**self.instrument.price_exponent)

    def _quantity(self, mantissa: int) -> Fraction:
        return Fraction(mantissa, 10**self.instrument.quantity_exponent)


def _messages(records: Iterable[Record]) -> Iterator[list[Record]]:
    """From FIRST to LAST; of an order book message that brings several updates, each."""
    message: list[Record] = []
    for record in records:
        if record.flags & FIRST:
            message = []
        message.append(record)
        if record.flags & LAST:
            yield message


def computed_names() -> frozenset[str]:
    """The features that the oracle has a formula of: those of a row of a small market in which nothing is missing."""
    oracle = Oracle()
    oracle.begin(0)
    bids, asks = ([(Decimal(price), Decimal(1)) for price in side] for side in ((99, 98, 97), (101, 102, 103)))
    oracle.book.apply(1, replaces=True, update_id=1, bids=bids, asks=asks)
    oracle.end_slot(1)
    one = Fraction(1)
    for minute in (1, 2, 3):
        oracle.candle(minute * MINUTE_NS, Candle((minute + 1) * MINUTE_NS, one, one, one, one, one))
    return frozenset(oracle.row(4 * MINUTE_NS + SECOND_NS).values)
