"""The exchange's history by REST: periods put together of pages, and what it has of the present alone.

A period is read newest first, as the exchange gives it. A candle that has not ended is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Unpack

import msgspec

from backfill.bybit.archive import ArchivedTrade
from backfill.bybit.client import Answer, BybitClient, ClientSettings
from backfill.bybit.messages import BOOK_LEVELS, MINUTE_MS, PresentBook
from market.clock import MINUTE_NS, Clock
from market.errors import InvalidRequest, StoreUnavailable

MOST_RECENT: Final = 1000
MOST_RECENT_SPOT: Final = 60
LISTING_NS: Final = 10 * MINUTE_NS
"""How long what was said of an instrument is believed: days of months ask for it one after the other."""

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the exchange says of an instrument.

    launched_ms: since when it trades. ended_ms: since when no more, None while it does; one that was given another name
    ends, and the other begins. funding_interval_min: minutes between fundings, None without.
    """

    launched_ms: int
    funding_interval_min: int | None
    ended_ms: int | None = None


class _Rows(msgspec.Struct, frozen=True):
    rows: list[Row] = msgspec.field(name="list")


class _Funding(msgspec.Struct, frozen=True, rename="camel"):
    funding_rate: str
    funding_rate_timestamp: str


class _Fundings(msgspec.Struct, frozen=True):
    rows: list[_Funding] = msgspec.field(name="list")


class _Interest(msgspec.Struct, frozen=True, rename="camel"):
    open_interest: str
    timestamp: str


class _Interests(msgspec.Struct, frozen=True):
    rows: list[_Interest] = msgspec.field(name="list")


class _Instrument(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    launch_time: str = "0"
    delivery_time: str = "0"
    funding_interval: int | None = None


class _Instruments(msgspec.Struct, frozen=True):
    rows: list[_Instrument] = msgspec.field(name="list")


class _Recent(msgspec.Struct, frozen=True, rename="camel"):
    exec_id: str
    time: str
    side: str
    size: str
    price: str


class _Recents(msgspec.Struct, frozen=True):
    rows: list[_Recent] = msgspec.field(name="list")


_ROWS: Final = msgspec.json.Decoder(_Rows)
_FUNDINGS: Final = msgspec.json.Decoder(_Fundings)
_INTERESTS: Final = msgspec.json.Decoder(_Interests)
_RECENTS: Final = msgspec.json.Decoder(_Recents)
_INSTRUMENTS: Final = msgspec.json.Decoder(_Instruments)
_BOOK: Final = msgspec.json.Decoder(PresentBook)


@dataclass(frozen=True, slots=True)
class _Page:
    """How a path is paged: the names of its period, the most rows of an answer, and its rows as tuples, time first."""

    path: str
    period: tuple[str, str]
    limit: int
    read: Callable[[msgspec.Raw], Sequence[Row]]


def _rows(result: msgspec.Raw) -> Sequence[Row]:
    return _ROWS.decode(result).rows


def _funding_rows(result: msgspec.Raw) -> Sequence[Row]:
    found = _FUNDINGS.decode(result).rows
    return [(each.funding_rate_timestamp, each.funding_rate) for each in found]


def _interest_rows(result: msgspec.Raw) -> Sequence[Row]:
    found = _INTERESTS.decode(result).rows
    return [(each.timestamp, each.open_interest) for each in found]


def _recent(result: msgspec.Raw) -> Sequence[_Recent]:
    return _RECENTS.decode(result).rows


_KLINE: Final = _Page("/v5/market/kline", ("start", "end"), 1000, _rows)
_MARK: Final = _Page("/v5/market/mark-price-kline", ("start", "end"), 1000, _rows)
_INDEX: Final = _Page("/v5/market/index-price-kline", ("start", "end"), 1000, _rows)
_FUNDING: Final = _Page("/v5/market/funding/history", ("startTime", "endTime"), 200, _funding_rows)
_INTEREST: Final = _Page("/v5/market/open-interest", ("startTime", "endTime"), 200, _interest_rows)


class BybitHistory:
    """The history of one category's instruments; ``close`` it.

    Every method raises InvalidRequest for what the exchange does not know and StoreUnavailable when it does not answer
    as it should.
    """

    def __init__(self, url: str, clock: Clock, *, category: str = "linear", **settings: Unpack[ClientSettings]) -> None:
        self.client = BybitClient(url, clock, **settings)
        self.url = url
        self.category = category
        self._clock = clock
        self._listings: dict[str, tuple[int, Listing]] = {}

    def klines(self, symbol: str, start_ms: int, end_ms: int) -> list[Row]:
        """Candles of a minute that begin in [start, end), oldest first.

        Each is start, open, high, low, close, volume, turnover.
        """
        return self._candles(_KLINE, symbol, start_ms, end_ms, fields=7)

    def mark_prices(self, symbol: str, start_ms: int, end_ms: int) -> list[Row]:
        """Candles of a minute of the mark price: start, open, high, low, close."""
        return self._candles(_MARK, symbol, start_ms, end_ms, fields=5)

    def index_prices(self, symbol: str, start_ms: int, end_ms: int) -> list[Row]:
        """Candles of a minute of the index price: start, open, high, low, close."""
        return self._candles(_INDEX, symbol, start_ms, end_ms, fields=5)

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> list[Row]:
        """Settlements in [start, end), oldest first: time, rate."""
        return self._period(_FUNDING, symbol, start_ms, end_ms, fields=2)[0]

    def open_interest(self, symbol: str, start_ms: int, end_ms: int) -> list[Row]:
        """Open interest every five minutes in [start, end), oldest first: time, quantity."""
        return self._period(_INTEREST, symbol, start_ms, end_ms, fields=2, intervalTime="5min")[0]

    def recent_trades(self, symbol: str) -> list[ArchivedTrade]:
        """The newest trades, as many as the exchange gives, oldest first: it has none of before by REST."""
        path, most = "/v5/market/recent-trade", MOST_RECENT_SPOT if self.category == "spot" else MOST_RECENT
        answer = self.client.get(path, {"category": self.category, "symbol": symbol, "limit": str(most)})
        found = [
            ArchivedTrade(int(each.time), symbol, each.side, each.size, each.price, each.exec_id)
            for each in self._decoded(path, answer, _recent)
        ]
        found.reverse()
        found.sort(key=lambda trade: trade.T)
        return found

    def order_book(self, symbol: str) -> PresentBook:
        """The order book as it is now: the exchange has none of before by REST."""
        path = "/v5/market/orderbook"
        asked = {"category": self.category, "symbol": symbol, "limit": str(BOOK_LEVELS)}
        book: PresentBook = self._decoded(path, self.client.get(path, asked), _BOOK.decode)
        return book

    def listing(self, symbol: str) -> Listing:
        """What the exchange says of a symbol, or said in LISTING_NS.

        Raises InvalidRequest when it never listed one of this name.
        """
        now_ns = self._clock.now_ns()
        known = self._listings.get(symbol)
        if known is None or not 0 <= now_ns - known[0] < LISTING_NS:
            known = self._listings[symbol] = now_ns, self._listing(symbol)
        return known[1]

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _listing(self, symbol: str) -> Listing:
        path = "/v5/market/instruments-info"
        asked = {"category": self.category, "symbol": symbol}
        for more in ({}, {"status": "Closed"}):  # those that trade, then those that did
            found = self._decoded(path, self.client.get(path, asked | more), _INSTRUMENTS.decode).rows
            for each in found:
                if each.symbol == symbol:
                    ended_ms = int(each.delivery_time) if more else 0
                    return Listing(int(each.launch_time), each.funding_interval, ended_ms or None)
        raise InvalidRequest(
            f"symbol: must be a {self.category} instrument of the exchange, in capitals as in BTCUSDT, was {symbol!r}"
        )

    def _candles(self, page: _Page, symbol: str, start_ms: int, end_ms: int, *, fields: int) -> list[Row]:
        rows, now_ms = self._period(page, symbol, start_ms, end_ms, fields=fields, interval="1")
        return [row for row in rows if int(row[0]) + MINUTE_MS <= now_ms]

    def _period(
        self, page: _Page, symbol: str, start_ms: int, end_ms: int, *, fields: int, **asked: str
    ) -> tuple[list[Row], int]:
        """The rows of a period, oldest first, and the exchange's time before the first of them was asked for."""
        found: dict[int, Row] = {}
        newest_ms, now_ms = end_ms - 1, None
        while newest_ms >= start_ms:
            answer = self.client.get(
                page.path,
                {
                    "category": self.category,
                    "symbol": symbol,
                    **asked,
                    page.period[0]: str(start_ms),
                    page.period[1]: str(newest_ms),
                    "limit": str(page.limit),
                },
            )
            now_ms = answer.time if now_ms is None else now_ms
            rows = self._decoded(page.path, answer, page.read)
            if not rows:
                break
            for row in rows:
                if len(row) < fields or not row[0].isdecimal() or not start_ms <= int(row[0]) <= newest_ms:
                    raise StoreUnavailable(
                        f"bybit GET {page.path} of {symbol}: rows must be of {start_ms} to {newest_ms} ms and have "
                        f"{fields} fields, was {row!r}"
                    )
                if found.setdefault(int(row[0]), row) != row:
                    raise StoreUnavailable(
                        f"bybit GET {page.path} of {symbol}: must state {row[0]} ms once, was {found[int(row[0])]!r} "
                        f"and {row!r}"
                    )
            newest_ms = min(found) - 1
        return [found[at] for at in sorted(found)], now_ms or 0

    def _decoded(self, path: str, answer: Answer, read: Callable[[msgspec.Raw], Any]) -> Any:  # noqa: ANN401
        try:
            return read(answer.result)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise StoreUnavailable(f"bybit GET {path}: must answer as documented, was {error}") from error
