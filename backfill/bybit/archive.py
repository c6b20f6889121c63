"""The exchange's public archives: the daily files of trades and order books, in a folder or behind an HTTP address."""

from __future__ import annotations

import csv
import gzip
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
import msgspec

from market.errors import NotFound, StoreUnavailable, UnreadableRecording
from storage.durable_files import changing_files

TIMEOUT_S: Final = 30.0
MOST_ATTEMPTS: Final = 4
ADDRESSES: Final = {
    "linear": ("https://public.bybit.com/trading", "https://quote-saver.bycsi.com/orderbook/linear"),
    "inverse": ("https://public.bybit.com/trading", "https://quote-saver.bycsi.com/orderbook/inverse"),
    "spot": ("https://public.bybit.com/spot", "https://quote-saver.bycsi.com/orderbook/spot"),
}
"""Where the exchange keeps trades and order books, by category."""
_UNREADABLE: Final = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A daily file, readable while it is lent. source: where it came from, for the record."""

    path: Path
    source: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Daily files behind an HTTP address or in a folder. wait: before what failed so many times is tried again."""

    base: str
    wait: Callable[[int], None] = lambda _attempt: None

    @contextmanager
    def trades(self, symbol: str, date: str) -> Iterator[ArchivedFile]:
        """The trades of a UTC day, of contracts or of spot. Raises NotFound, StoreUnavailable."""
        with self._file(symbol, [f"{symbol}{date}.csv.gz", f"{symbol}_{date}.csv.gz"]) as found:
            yield found

    @contextmanager
    def orderbook(self, symbol: str, date: str) -> Iterator[ArchivedFile]:
        """The order book messages of a UTC day, the deepest that there are. Raises NotFound, StoreUnavailable."""
        with self._file(symbol, [f"{date}_{symbol}_ob{depth}.data.zip" for depth in (500, 200)]) as found:
            yield found

    @contextmanager
    def _file(self, symbol: str, names: list[str]) -> Iterator[ArchivedFile]:
        """One of the names, in the symbol's folder or beside it."""
        tried = [f"{folder}{name}" for name in names for folder in (f"{symbol}/", "")]
        if not self.base.startswith(("http://", "https://")):
            for name in tried:
                path = Path(self.base) / name
                if path.is_file():
                    yield ArchivedFile(path, f"archive {name}")
                    return
            raise NotFound(f"archive: must hold {' or '.join(names)}, was without")
        with tempfile.TemporaryDirectory(prefix="feature-service-archive-") as scratch:
            for name in tried:
                path = Path(scratch) / name.rpartition("/")[2]
                if self._download(f"{self.base.rstrip('/')}/{name}", path):
                    yield ArchivedFile(path, f"archive {name}")
                    return
        raise NotFound(f"archive {self.base}: must hold {' or '.join(names)}, was without")

    def _download(self, url: str, path: Path) -> bool:
        """Whether the file is there, and now here as well; what may succeed later is tried again."""
        told = ""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                with httpx.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as answer:
                    if answer.status_code == HTTPStatus.NOT_FOUND:
                        return False
                    if answer.is_success:
                        with changing_files(path), path.open("wb") as file:
                            for chunk in answer.iter_raw():
                                file.write(chunk)
                        return True
                    told = f"must be given, was {answer.status_code}"
                    if answer.is_client_error and answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                        break
            except httpx.HTTPError as error:
                told = f"no answer: {type(error).__name__}: {error}"
            if attempt < MOST_ATTEMPTS:
                self.wait(attempt)
        raise StoreUnavailable(f"archive {url}: {told}")


class ArchivedTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade as the stream states it: time in ms, symbol, the taker's side, size, price, id."""

    T: int
    s: str
    S: str
    v: str
    p: str
    i: str


def read_trades(path: Path, symbol: str) -> list[ArchivedTrade]:
    """The trades of a symbol's file in order of time; those of one moment as they stand, which is by their order.

    Of derivatives (timestamp in seconds, side, size, price, trdMatchID) and of spot (id, timestamp in ms, price,
    volume, side). Raises UnreadableRecording when the file breaks off or a line is none of these.
    """
    trades: list[ArchivedTrade] = []
    try:
        with gzip.open(path, "rt", newline="") as file:
            trades.extend(_trade(line, symbol) for line in csv.DictReader(file))
    except _UNREADABLE as error:
        raise UnreadableRecording(f"{path.name}: must be readable to its end, was not: {error}") from error
    except (KeyError, InvalidOperation, AttributeError, ValueError, OverflowError) as error:
        raise UnreadableRecording(
            f"{path.name} line {len(trades) + 2}: must be a trade, was not: {type(error).__name__} {error}"
        ) from error
    # Some files of the archive stand newest first.
    if trades and trades[0].T > trades[-1].T:
        trades.reverse()
    trades.sort(key=lambda trade: trade.T)
    return trades


def _trade(line: dict[str, str], symbol: str) -> ArchivedTrade:
    side = sys.intern(line["side"].capitalize())
    if "trdMatchID" in line:
        if line["symbol"] != symbol:
            raise ValueError(f"symbol must be {symbol}, was {line['symbol']}")
        at_ms = int(Decimal(line["timestamp"]) * 1000)
        return ArchivedTrade(at_ms, symbol, side, line["size"], line["price"], line["trdMatchID"])
    return ArchivedTrade(int(line["timestamp"]), symbol, side, line["volume"], line["price"], line["id"])
