"""The exchange's archives: daily files of trades and order books, behind HTTP, in an object store or in a folder."""

from __future__ import annotations

import csv
import gzip
import re
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
from pyarrow.fs import FileSystem, FileType

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
_CHUNK: Final = 1 << 20
_UNREADABLE: Final = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A daily file, readable while it is lent. source: where it came from, for the record."""

    path: Path
    source: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Daily files behind an HTTP address, in an object store (s3://, gs://) or in a folder.

    wait: before what failed so many times is tried again.
    """

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
        """One of the names, in the symbol's folder or next to it."""
        tried = [f"{folder}{name}" for name in names for folder in (f"{symbol}/", "")]
        if "://" not in self.base:
            for name in tried:
                path = Path(self.base) / name
                if path.is_file():
                    yield ArchivedFile(path, f"archive {name}")
                    return
            raise NotFound(f"archive: must hold {' or '.join(names)}, was without")
        address, question, options = self.base.partition("?")
        with tempfile.TemporaryDirectory(prefix="feature-service-archive-") as scratch:
            for name in tried:
                path = Path(scratch) / name.rpartition("/")[2]
                if self._copied(f"{address.rstrip('/')}/{name}{question}{options}", path):
                    yield ArchivedFile(path, f"archive {name}")
                    return
        raise NotFound(f"archive {_shown(self.base)}: must hold {' or '.join(names)}, was without")

    def _copied(self, url: str, path: Path) -> bool:
        """Whether the file is there, and now here as well; what may succeed later is tried again."""
        copy = _download if url.startswith(("http://", "https://")) else _take_object
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                return copy(url, path)
            except _NoFileError as error:
                if not error.is_passing or attempt == MOST_ATTEMPTS:
                    raise StoreUnavailable(f"archive {_shown(url)}: {error}") from error
            self.wait(attempt)
        raise AssertionError("the last attempt returns or raises")


class _NoFileError(Exception):
    """What was answered in place of a file; ``is_passing``: whether another time may be better."""

    def __init__(self, told: str, *, is_passing: bool = True) -> None:
        self.is_passing = is_passing
        super().__init__(told)


def _shown(url: str) -> str:
    """An address without its credentials."""
    return re.sub(r"//[^@/]*@", "//", url.partition("?")[0])


def _download(url: str, path: Path) -> bool:
    """By HTTP; False where there is no such file. Raises _NoFileError."""
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as answer:
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return False
            if answer.is_success:
                with changing_files(path), path.open("wb") as file:
                    for chunk in answer.iter_raw():
                        file.write(chunk)
                return True
            is_refused = answer.is_client_error and answer.status_code != HTTPStatus.TOO_MANY_REQUESTS
            raise _NoFileError(f"must be given, was {answer.status_code}", is_passing=not is_refused)
    except httpx.HTTPError as error:
        raise _NoFileError(f"no answer: {type(error).__name__}: {error}") from error


def _take_object(url: str, path: Path) -> bool:
    """From a store that Arrow knows (s3, gs, file), as the machine is let in; likewise."""
    try:
        store, name = FileSystem.from_uri(url)
        if store.get_file_info(name).type != FileType.File:
            return False
        with store.open_input_stream(name, compression=None) as source:  # by its name it would be unpacked
            chunk = source.read(_CHUNK)
            with changing_files(path):
                file = path.open("wb")
            with file:
                while chunk:
                    with changing_files(path):
                        file.write(chunk)
                    chunk = source.read(_CHUNK)
    except ValueError as error:
        # What Arrow says repeats the whole address.
        raise _NoFileError("must be http, https, s3, gs or file, was not", is_passing=False) from error
    except OSError as error:
        raise _NoFileError(f"no answer: {error}") from error
    return True


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
