"""Stand-ins for the exchange: the order book that its REST answers with, and its history by REST and archives.

``BybitHistoryServer`` pages as the exchange does: newest first, ``limit`` rows at most, errors as 200 with a retCode.
"""

from __future__ import annotations

import csv
import gzip
import json
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from market.clock import MILLISECOND_NS, parse_iso_ns

Book = dict[str, Any]
Row = tuple[str, ...]
MINUTE_MS: Final = 60_000
KLINE_PATHS: Final = {
    "/v5/market/kline": "klines",
    "/v5/market/mark-price-kline": "marks",
    "/v5/market/index-price-kline": "indices",
}


def book_after(messages: Iterable[Book]) -> Book:
    """The book that order book messages of one symbol (``s, b, a, u, seq, type``) leave, as REST answers with it."""
    sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    last: Book = {}
    for message in messages:
        for side, levels in sides.items():
            if message["type"] == "snapshot":
                levels.clear()
            levels.update(message[side])
        last = message
    shown = {side: [[px, size] for px, size in levels.items() if float(size) > 0] for side, levels in sides.items()}
    # Another depth's number: it must not be used.
    return {"s": last["s"], **shown, "ts": 1_772_000_000_000, "u": last["u"] + 1_000_000, "seq": last["seq"]}


class OrderBookRest:
    """Answers with what ``book`` gives for a symbol; ``asked`` are the requests, ``failures`` the next answers."""

    def __init__(self, book: Callable[[str], Book]) -> None:
        self.asked: list[dict[str, str]] = []
        self.failures: list[tuple[int, bytes]] = []
        rest = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                rest.asked.append(asked)
                status, content = rest.failures.pop(0) if rest.failures else (200, rest._answer(book(asked["symbol"])))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, book: Book) -> bytes:
        return json.dumps({"retCode": 0, "retMsg": "OK", "result": book, "time": book["ts"]}).encode()


def recorded_klines(path: Path, first: int = 0, last: int | None = None) -> list[Row]:
    """Rows of a recording of candles as REST states them; their turnover, which it lacks, is volume times close."""
    with gzip.open(path, "rt") as file:
        found = [
            (
                str(parse_iso_ns(line["timestamp"]) // MILLISECOND_NS),
                *(line[name] for name in ("open", "high", "low", "close", "volume")),
                f"{(Decimal(line['close']) * Decimal(line['volume'])).normalize():f}",
            )
            for line in csv.DictReader(file)
        ]
    return found[first:last]


@dataclass
class History:
    """What the exchange knows of one symbol; rows oldest first.

    recent: the newest trades, newest first. book: the present one. launched_ms, ended_ms: since when it is listed, and
    is no more, 0 while it is.
    """

    klines: Sequence[Row] = ()
    marks: Sequence[Row] = ()
    indices: Sequence[Row] = ()
    fundings: Sequence[tuple[str, str]] = ()
    interest: Sequence[tuple[str, str]] = ()
    recent: Sequence[Mapping[str, str]] = ()
    book: Book | None = None
    launched_ms: int = 0
    ended_ms: int = 0
    funding_interval_min: int = 480


@dataclass
class Failure:
    """An answer other than the right one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    """Whether the connection ends before the answer does."""

    @classmethod
    def told(cls, ret_code: int, message: str, **headers: str) -> Failure:
        """An error as the exchange tells it."""
        body = json.dumps({"retCode": ret_code, "retMsg": message, "result": {}, "time": 1}).encode()
        return cls(200, body, {name.replace("_", "-"): value for name, value in headers.items()})


class BybitHistoryServer:
    """The exchange's history behind one address. ``asked`` are the requests, ``failures`` the next answers.

    archive: the folder behind ``/archive/``. now_ms: the time of its answers.
    """

    def __init__(self, symbols: Mapping[str, History], *, archive: Path | None = None, now_ms: int = 1 << 42) -> None:
        self.symbols = symbols
        self.now_ms = now_ms
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.failures: list[Failure | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                split = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(split.query).items()}
                server.asked.append((split.path, asked))
                server.headers.append(dict(self.headers.items()))
                failure = server.failures.pop(0) if server.failures else None
                if failure is None and split.path.startswith("/archive/") and archive is not None:
                    path = archive / split.path.removeprefix("/archive/")
                    failure = Failure(200, path.read_bytes()) if path.is_file() else Failure(404, b"no such file")
                answer = failure or Failure(200, server._answer(split.path, asked))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) + answer.is_cut))
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = answer.is_cut

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, asked: Mapping[str, str]) -> bytes:
        history = self.symbols.get(asked.get("symbol", ""))
        if history is None:
            return Failure.told(10001, "params error: symbol invalid").body
        if path in KLINE_PATHS:
            found: list[Any] = _page(getattr(history, KLINE_PATHS[path]), asked, "start", "end", 1000)
        elif path == "/v5/market/funding/history":
            rows = _page(history.fundings, asked, "startTime", "endTime", 200)
            found = [{"symbol": asked["symbol"], "fundingRate": r, "fundingRateTimestamp": at} for at, r in rows]
        elif path == "/v5/market/open-interest":
            found = [
                {"openInterest": quantity, "timestamp": at}
                for at, quantity in _page(history.interest, asked, "startTime", "endTime", 200)
            ]
        elif path == "/v5/market/recent-trade":
            found = list(history.recent[: int(asked["limit"])])
        elif path == "/v5/market/orderbook" and history.book is not None:
            return json.dumps({"retCode": 0, "retMsg": "OK", "result": history.book, "time": self.now_ms}).encode()
        elif path == "/v5/market/instruments-info":
            # Without a status those that trade are listed.
            is_listed = (asked.get("status") == "Closed") == (history.ended_ms > 0)
            found = [_instrument(asked["symbol"], history)] if is_listed else []
        else:
            return Failure.told(10001, "no such path").body
        return json.dumps({"retCode": 0, "retMsg": "OK", "result": {"list": found}, "time": self.now_ms}).encode()


def _page(rows: Sequence[Row], asked: Mapping[str, str], start: str, end: str, most: int) -> list[Row]:
    """The newest rows of a period, newest first; ``rows`` oldest first."""
    begin = bisect_left(rows, int(asked[start]), key=_time_ms)
    stop = bisect_right(rows, int(asked[end]), key=_time_ms)
    return list(rows[max(begin, stop - min(int(asked["limit"]), most)) : stop][::-1])


def _instrument(symbol: str, history: History) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "launchTime": str(history.launched_ms),
        "deliveryTime": str(history.ended_ms),
        "fundingInterval": history.funding_interval_min,
    }


def _time_ms(row: Row) -> int:
    return int(row[0])
