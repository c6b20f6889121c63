"""A day as received live against the exchange's archives and settlements; fetched data is not stored.

Trades and order books are read from the tape, message by message, since raw Parquet keeps no ids of trades and no
number that compares across depths; candles and tickers from the records that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np

from backfill.bybit.archive import Archive
from backfill.bybit.messages import funding_messages
from backfill.fetching import Place
from backfill.traded_candles import archived_trades, candles_of_records, trades_by_id
from ingestion.decoding.decoded import DecodedMessage
from ingestion.messages import RejectedLine
from ingestion.sources.played.recordings import read_recording
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, format_iso, parse_iso_ns
from market.errors import InvalidRequest, NotFound, RejectedMessage, UnreadableRecording
from market.events import (
    CONFIRMED,
    CONTROL,
    FUNDING_RATE,
    KLINE,
    ORDERBOOK,
    START,
    TICKER,
    TRADE,
)
from market.instruments import FUNDING_RATE_EXPONENT
from quality.book_reconciliation import BookMessage, compare_books
from quality.reconciliation import (
    Candle,
    Check,
    Scale,
    Trade,
    candles_of,
    compare_candles,
    compare_fundings,
    compare_trades,
    reconciliation_document,
)
from storage.raw.events import stream_events
from storage.raw.raw_data import RawData
from storage.tape import read_tape

AROUND_NS: Final = 2 * MINUTE_NS
"""A message of the day may be received a little before it or after it."""


class DayReconciliation:
    """Compares days of symbols.

    open_raw: opens all that is known of a symbol, for as long as it is read. step: called at each message; it may raise
    to give up, since nothing was stored.
    """

    def __init__(
        self,
        place: Place,
        open_raw: Callable[[str], AbstractContextManager[RawData]],
        *,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._open_raw = open_raw
        self._step = step

    def of(self, symbol: str, date: str) -> dict[str, Any]:
        """The report of a UTC day, YYYY-MM-DD. A source that cannot be read leaves its check unchecked.

        Raises NotFound when nothing was ever held of the symbol, InvalidRequest, CorruptStore, StoreUnavailable when
        the exchange does not answer.
        """
        begin_ns = parse_iso_ns(date)
        day = begin_ns, begin_ns + DAY_NS
        with self._open_raw(symbol) as raw:
            instrument = raw.instrument(symbol)
            scale = Scale(price=instrument.price_exponent, quantity=instrument.quantity_exponent)
            trades, traded = self._trades(symbol, date, day, scale)
            checks = [
                trades,
                self._candles(raw, symbol, day, scale, traded=traded),
                self._books(symbol, date, day, scale),
                self._fundings(raw, symbol, day),
            ]
        return reconciliation_document(symbol, date, (format_iso(day[0]), format_iso(day[1])), checks)

    def _decoded(self, symbol: str, day: tuple[int, int], kind: int) -> Iterator[tuple[DecodedMessage, int]]:
        """Messages of a kind that the tape has around a day, with their seq. Raises NotFound without a tape."""
        decoders = Decoders(BYBIT, self._place.instruments)
        frames = read_tape(self._place.raw_folder, symbol, from_ns=day[0] - AROUND_NS, to_ns=day[1] + AROUND_NS)
        for frame in frames:
            self._step()
            try:
                decoded = decoders.decode(frame.body, frame.recv_ns)
            except RejectedMessage:
                continue  # no row was made of it either
            if decoded is not None and decoded.kind == kind and decoded.symbol == symbol:
                yield decoded, frame.seq

    def _trades(
        self, symbol: str, date: str, day: tuple[int, int], scale: Scale
    ) -> tuple[Check, dict[int, Candle] | None]:
        """The check, and what the archive's trades make of each minute, None where it cannot be read."""
        decoders = Decoders(BYBIT, self._place.instruments)
        try:
            old, source = archived_trades(Archive(self._place.trades), decoders, symbol, date)
        except (NotFound, UnreadableRecording, RejectedMessage) as error:
            return Check("trades", unchecked=str(error)), None
        traded = candles_of(old.values(), source=source)
        try:
            lived: dict[str, Trade] = {}
            for decoded, seq in self._decoded(symbol, day, TRADE):
                lived |= trades_by_id(decoded, seq, day)
        except NotFound as error:
            return Check("trades", unchecked=str(error)), traded
        return compare_trades(lived, old, scale, source=source), traded

    def _candles(
        self, raw: RawData, symbol: str, day: tuple[int, int], scale: Scale, *, traded: dict[int, Candle] | None
    ) -> Check:
        """Candles that are held, live before backfilled, against the archive's trades, else against those held."""
        if traded is None:
            traded = _held_candles_of_trades(raw, symbol, day)
        held: dict[int, Candle] = {}
        for events, _ in stream_events(raw, symbol, kinds=(KLINE,), from_ns=day[0] - MINUTE_NS, to_ns=day[1] + DAY_NS):
            confirmed = events[(events["kind"] == KLINE) & ((events["flags"] & CONFIRMED) != 0)]
            for seq in np.unique(confirmed["seq"]).tolist():
                for start, of_minute in candles_of_records(confirmed[confirmed["seq"] == seq]):
                    if day[0] - MINUTE_NS <= start < day[1] and not (start in held and seq < 0):
                        source = f"tape, seq {seq}" if seq >= 0 else f"backfill, seq {seq}"
                        held[start] = of_minute._replace(source=source)
        if not traded:
            return Check("klines", unchecked="the day has no trades to build candles from")
        return compare_candles(held, traded, scale, minutes=range(day[0], day[1], MINUTE_NS))

    def _books(self, symbol: str, date: str, day: tuple[int, int], scale: Scale) -> Check:
        decoders = Decoders(BYBIT, self._place.instruments)

        def archived() -> Iterator[BookMessage]:
            for number, line in enumerate(read_recording(file.path), start=1):
                self._step()
                if isinstance(line, RejectedLine):
                    raise UnreadableRecording(f"{file.source} line {number}: {line.reason}")
                decoded = decoders.decode(line.body, line.recv_ns)
                if decoded is not None and decoded.book is not None:
                    yield BookMessage(decoded.book, decoded.records, f"{file.source}, line {number}")

        lived = (
            BookMessage(decoded.book, decoded.records, f"tape, seq {seq}")
            for decoded, seq in self._decoded(symbol, day, ORDERBOOK)
            if decoded.book is not None
        )
        try:
            with Archive(self._place.orderbook).orderbook(symbol, date) as file:
                return compare_books(lived, archived(), scale)
        except (NotFound, UnreadableRecording, RejectedMessage) as error:
            return Check("orderbook", unchecked=str(error))

    def _fundings(self, raw: RawData, symbol: str, day: tuple[int, int]) -> Check:
        rest = self._place.rest
        if rest.category == "spot":
            return Check("funding")
        start_ms, end_ms = day[0] // MILLISECOND_NS, day[1] // MILLISECOND_NS
        try:
            rows = rest.fundings(symbol, start_ms, end_ms)
        except InvalidRequest as error:
            return Check("funding", unchecked=str(error))
        decoders = Decoders(BYBIT, self._place.instruments)
        settled: dict[int, int] = {}
        settlements = {int(at_ms) * MILLISECOND_NS for at_ms, _ in rows}
        for message in funding_messages(symbol, rows, None, start_ms=start_ms, end_ms=end_ms):
            decoded = decoders.decode(message.body, message.recv_ns)
            assert decoded is not None, "a ticker"
            rate = decoded.records[decoded.records["field"] == FUNDING_RATE][0]
            if int(rate["event_ns"]) in settlements:
                settled[int(rate["event_ns"])] = int(rate["px"])
        known = _rates_at(raw, symbol, day, list(settled))
        return compare_fundings(known, settled, decimals=FUNDING_RATE_EXPONENT, source=f"{rest.url} funding/history")


def _held_candles_of_trades(raw: RawData, symbol: str, day: tuple[int, int]) -> dict[int, Candle]:
    found: list[Trade] = []
    for events, _ in stream_events(raw, symbol, kinds=(TRADE,), from_ns=day[0] - AROUND_NS, to_ns=day[1] + AROUND_NS):
        trades = events[(events["kind"] == TRADE) & (events["event_ns"] >= day[0]) & (events["event_ns"] < day[1])]
        found += [
            Trade(*map(int, each))
            for each in zip(*(trades[n] for n in ("event_ns", "px", "qty", "field")), strict=True)
        ]
    return candles_of(sorted(found, key=lambda each: each.event_ns), source="trades that are held")


def _rates_at(raw: RawData, symbol: str, day: tuple[int, int], times: list[int]) -> dict[int, tuple[int, str] | None]:
    """The rate that was known live at each time, ascending, with its message; None after a worker restarted."""
    known: dict[int, tuple[int, str] | None] = dict.fromkeys(times)
    for events, _ in stream_events(raw, symbol, kinds=(TICKER,), from_ns=day[0] - DAY_NS, to_ns=day[1]):
        live = events[events["seq"] >= 0]
        is_rate = (live["kind"] == TICKER) & (live["field"] == FUNDING_RATE)
        is_start = (live["kind"] == CONTROL) & (live["field"] == START) & np.isin(live["px"], (CONTROL, TICKER))
        for record in live[is_rate | is_start]:
            rate = None if record["kind"] == CONTROL else (int(record["px"]), f"tape, seq {int(record['seq'])}")
            for at_ns in times:
                if record["recv_ns"] < at_ns:
                    known[at_ns] = rate
    return known
