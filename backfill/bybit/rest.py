"""The exchange's history by REST: pages put together, its limits kept, what fails asked for again.

1. Between two requests there is a pause; where the exchange says that its limit is used up, until it says it is not.
2. What may succeed later (limits, timeouts, 5xx, answers that are no answer) is asked again, a bounded number of times,
   each time after twice the wait, jittered. After HTTP 403 the exchange wants ten minutes of silence.
3. A period is read newest first, as the exchange gives it. A candle that has not ended is left out.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import httpx
import msgspec

from backfill.bybit.messages import MINUTE_MS
from market.clock import MILLISECOND_NS, Clock
from market.errors import InvalidRequest, StoreUnavailable

MOST_ATTEMPTS: Final = 6
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
BANNED_S: Final = 600.0
"""Source: bybit-exchange.github.io/docs/v5/rate-limit, for HTTP 403."""
TIMEOUT_S: Final = 10.0
RECV_WINDOW_MS: Final = "5000"
_RATE_LIMIT: Final = 10006
_WRONG_PARAMETER: Final = 10001
_WRONG_SYMBOL: Final = 10029

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the exchange says of an instrument: since when it trades, and minutes between fundings, None without."""

    launched_ms: int
    funding_interval_min: int | None


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    ret_code: int
    time: Annotated[int, msgspec.Meta(ge=1)]
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")


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
    funding_interval: int | None = None


class _Instruments(msgspec.Struct, frozen=True):
    rows: list[_Instrument] = msgspec.field(name="list")


@dataclass(frozen=True, slots=True)
class _Page:
    """How a path is paged: the names of its period, the most rows of an answer, and its rows as tuples, time first."""

    path: str
    period: tuple[str, str]
    limit: int
    read: Callable[[msgspec.Raw], Sequence[Row]]


def _rows(result: msgspec.Raw) -> Sequence[Row]:
    return msgspec.json.decode(result, type=_Rows).rows


def _funding_rows(result: msgspec.Raw) -> Sequence[Row]:
    found = msgspec.json.decode(result, type=_Fundings).rows
    return [(each.funding_rate_timestamp, each.funding_rate) for each in found]


def _interest_rows(result: msgspec.Raw) -> Sequence[Row]:
    found = msgspec.json.decode(result, type=_Interests).rows
    return [(each.timestamp, each.open_interest) for each in found]


_KLINE: Final = _Page("/v5/market/kline", ("start", "end"), 1000, _rows)
_MARK: Final = _Page("/v5/market/mark-price-kline", ("start", "end"), 1000, _rows)
_INDEX: Final = _Page("/v5/market/index-price-kline", ("start", "end"), 1000, _rows)
_FUNDING: Final = _Page("/v5/market/funding/history", ("startTime", "endTime"), 200, _funding_rows)
_INTEREST: Final = _Page("/v5/market/open-interest", ("startTime", "endTime"), 200, _interest_rows)


class BybitHistory:
    """The history of one category's instruments behind one address; ``close`` it.

    delay_ms: between two requests. sleep: waits; it may raise to give up. key, secret: requests are signed where both
    are given, though none of these needs it. jitter: gives numbers from 0 to 1.

    Every method raises InvalidRequest for what the exchange does not know and StoreUnavailable when it does not answer
    as it should.
    """

    def __init__(  # noqa: PLR0913  # an exchange, and what tests put in the place of time, chance and the network
        self,
        url: str,
        clock: Clock,
        *,
        category: str = "linear",
        delay_ms: int = 100,
        credentials: tuple[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, transport=transport)
        self.url = url
        self.category = category
        self._clock = clock
        self._delay_s = delay_ms / 1000
        self._credentials = credentials
        self._sleep = sleep
        self._jitter = jitter
        self._pause_s = 0.0

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

    def listing(self, symbol: str) -> Listing:
        """What the exchange says of a symbol. Raises InvalidRequest when it lists none of this name."""
        answer = self._get("/v5/market/instruments-info", {"category": self.category, "symbol": symbol})
        found = self._decoded("/v5/market/instruments-info", answer, msgspec.json.Decoder(_Instruments).decode).rows
        for each in found:
            if each.symbol == symbol:
                return Listing(int(each.launch_time), each.funding_interval)
        raise InvalidRequest(
            f"symbol: must be a {self.category} instrument of the exchange, in capitals as in BTCUSDT, was {symbol!r}"
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

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
            answer = self._get(
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

    def _decoded(self, path: str, answer: _Answer, read: Callable[[msgspec.Raw], Any]) -> Any:  # noqa: ANN401
        try:
            return read(answer.result)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise StoreUnavailable(f"bybit GET {path}: must answer as documented, was {error}") from error

    def _get(self, path: str, asked: Mapping[str, str]) -> _Answer:
        wait_s = FIRST_WAIT_S
        told = ""
        for _ in range(MOST_ATTEMPTS):
            self._sleep(self._pause_s)
            self._pause_s = self._delay_s
            asked_for_s, told = 0.0, ""
            try:
                answer = self._client.get(path, params=asked, headers=self._signed(asked))
            except httpx.HTTPError as error:
                told = f"no answer: {type(error).__name__}: {error}"
            else:
                told = f"was {answer.status_code} {answer.text[:200]}"
                if answer.status_code == HTTPStatus.FORBIDDEN:
                    asked_for_s = BANNED_S
                elif answer.is_success and (opened := _opened(answer.content)) is not None:
                    self._heed(answer.headers)
                    if opened.ret_code == 0:
                        return opened
                    if opened.ret_code in {_WRONG_PARAMETER, _WRONG_SYMBOL}:
                        raise InvalidRequest(
                            f"bybit GET {path}: must be what the exchange knows, was {dict(asked)}: {opened.ret_msg}"
                        )
                    asked_for_s = self._until_reset_s(answer.headers) if opened.ret_code == _RATE_LIMIT else 0.0
                elif answer.is_client_error and answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                    break
            self._pause_s = max(asked_for_s, wait_s * (0.5 + self._jitter()))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        raise StoreUnavailable(f"bybit {self.url} GET {path}: must succeed, {told}")

    def _heed(self, headers: httpx.Headers) -> None:
        """Where nothing is left of the limit, ask again no sooner than it is renewed."""
        if headers.get("X-Bapi-Limit-Status") == "0":
            self._pause_s = max(self._pause_s, self._until_reset_s(headers))

    def _until_reset_s(self, headers: httpx.Headers) -> float:
        reset = headers.get("X-Bapi-Limit-Reset-Timestamp", "")
        if not reset.isdecimal():
            return 0.0
        return min(max(int(reset) - self._clock.now_ns() // MILLISECOND_NS, 0) / 1000, LONGEST_WAIT_S)

    def _signed(self, asked: Mapping[str, str]) -> dict[str, str]:
        if self._credentials is None:
            return {}
        key, secret = self._credentials
        now = str(self._clock.now_ns() // MILLISECOND_NS)
        text = now + key + RECV_WINDOW_MS + urlencode(asked)
        return {
            "X-BAPI-API-KEY": key,
            "X-BAPI-TIMESTAMP": now,
            "X-BAPI-RECV-WINDOW": RECV_WINDOW_MS,
            "X-BAPI-SIGN": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest(),
        }


def _opened(content: bytes) -> _Answer | None:
    """The answer, None of what is none: a proxy's page, half an answer."""
    try:
        return msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
