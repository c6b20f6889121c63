"""Order books of archived days, decoded by an engine while whoever asks goes on with other data.

1. A task is of one day. What its bytes depend on is settled by who asks: nothing live is held of the day, the file of
   the archive is all that there may be, and the symbol's scale is pinned.
2. Days of trades are no tasks: whether history begins with one depends on what becomes of the day before.
3. A day that fails stops no other: its error is a result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from backfill.bybit.archive import Archive
from backfill.days import DayDone, done_of, lock_of, standing, store_day
from backfill.fetching import Destination, Fetched, Place, SymbolDay
from backfill.held import Held, held_of
from backfill.records import book_records
from ingestion.tape.whole import whole_raw
from market.clock import DAY_NS, SystemClock
from market.errors import Conflict, FeatureServiceError, StoreUnavailable
from market.instruments import Instrument
from market.markets import Market
from storage.file_locks import exclusive
from storage.raw.raw_data import RawData
from training_sets.engines.error_documents import error_document, error_of
from training_sets.engines.job_queue import Kind

ARCHIVED_AFTER_NS: Final = 2 * DAY_NS
"""From the begin of a day: what the exchange returns by REST is of later days."""
_NOTHING: Final = Held(frozenset(), ())
_FIRST_WAIT_S: Final = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FixedScale:
    """The one scale that a task may use; a price pins no other."""

    instrument: Instrument

    def get(self, symbol: str) -> Instrument | None:
        return self.instrument if symbol == self.instrument.symbol else None

    def pin(self, symbol: str, price_text: str) -> Instrument:  # noqa: ARG002  # it is pinned
        return self.instrument


@dataclass(frozen=True, slots=True)
class BookDone:
    """What became of a day, or why it failed."""

    day: str
    done: DayDone | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class BookDay:
    """The task. archive: a folder or an address of order books."""

    raw: RawData
    archive: str
    asked: SymbolDay
    instrument: Instrument
    market: Market

    def perform(self, is_stopping: Callable[[], bool]) -> BookDone:
        """Make the day stand in raw Parquet; given up, without a trace, where it is to stop."""
        try:
            return BookDone(self.asked.day, self._stored(is_stopping))
        except FeatureServiceError as error:
            return BookDone(self.asked.day, None, error)

    def _stored(self, is_stopping: Callable[[], bool]) -> DayDone:
        def go_on() -> None:
            if is_stopping():
                raise Conflict(f"{self.asked}: must be decoded to its end, was stopped")

        asked, destination = self.asked, Destination(self.raw, FixedScale(self.instrument), self.market, SystemClock())
        with exclusive(lock_of(self.raw, asked), gives_up=is_stopping):
            known = standing(self.raw.place, asked)
            if known is not None and known.is_whole:
                return done_of(known, is_stored=False)
            with Archive(self.archive, _wait).orderbook(asked.symbol, asked.day) as file:
                pieces = book_records(destination.instruments, asked, file.path)
                found = Fetched((), file.source, book=file.path)
                return store_day(destination, asked, _NOTHING, pieces, found=found, on_piece=go_on)


def book_tasks(place: Place, symbol: str, days: Sequence[str]) -> list[BookDay]:
    """The days whose order book only an archive has and nobody decoded yet, of a symbol with a pinned scale.

    Raises CorruptStore.
    """
    instrument = place.instruments.get(symbol)
    assert instrument is not None, "a scale is pinned before"
    asked = [SymbolDay(symbol, "orderbook", day) for day in days]
    now_ns = place.clock.now_ns()
    due = [day for day in asked if day.day_ns + ARCHIVED_AFTER_NS <= now_ns]
    due = [day for day in due if (known := standing(place.raw.place, day)) is None or not known.is_whole]
    with whole_raw(place.raw, symbol, place.instruments) as raw:
        due = [day for day in due if not held_of(raw, symbol, day.data_type, day.day_ns).ranges]
    market = place.destination.market
    return [BookDay(place.raw, place.orderbook, day, instrument, market) for day in due]


class BooksAhead:
    """The order books of a symbol's days, by the place's engine, from the first that is asked for on; ``close`` it."""

    def __init__(self, place: Place, symbol: str, days: Sequence[str]) -> None:
        self._place = place
        self._symbol = symbol
        self._days = days
        self._results: Iterator[BookDone] | None = None
        self._left: set[str] = set()
        self._known: dict[str, BookDone] = {}

    def of(self, day: str) -> DayDone | None:
        """What became of a day; None of one that is left to who asks. Waits for it, and raises what it failed with."""
        self._begin(day)
        if day not in self._left or self._results is None:
            return None
        while day not in self._known:
            try:
                found = next(self._results)
            except StoreUnavailable as error:
                _log.warning("%s; order books of %s are decoded here", error, self._symbol)
                self._left.clear()
                return None
            self._known[found.day] = found
        self._left.remove(day)
        found = self._known.pop(day)
        if found.error is not None:
            raise found.error
        return found.done

    def _begin(self, day: str) -> None:
        """Give the engine the days from this one on, once there is a scale."""
        engine = self._place.engine
        if engine is None or self._results is not None or self._place.instruments.get(self._symbol) is None:
            return
        tasks = book_tasks(self._place, self._symbol, [each for each in self._days if each >= day])
        self._results = iter(())
        if len(tasks) > 1:
            self._left = {task.asked.day for task in tasks}
            self._results = engine.run(tasks)

    def close(self) -> None:
        """Have days that have begun end where they are whole or nothing, and begin no other."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()


def book_kind(raw: RawData, archive: str) -> Kind[BookDone]:
    """Days of order books as JSON, for a queue whose workers know the stores, and the archive with its credentials."""

    def task(document: Mapping[str, Any]) -> BookDay:
        asked = SymbolDay(**document["asked"])
        return BookDay(raw, archive, asked, Instrument(**document["instrument"]), Market(**document["market"]))

    return Kind("order book", BookDay, _document_of, task, _result_document, _result)


def _document_of(task: BookDay) -> dict[str, Any]:
    return {"asked": asdict(task.asked), "instrument": asdict(task.instrument), "market": asdict(task.market)}


def _result_document(found: BookDone) -> dict[str, Any]:
    return {
        "day": found.day,
        "done": None if found.done is None else asdict(found.done),
        "error": None if found.error is None else error_document(found.error),
    }


def _result(document: Mapping[str, Any]) -> BookDone:
    done, error = document["done"], document["error"]
    if done is not None:
        ranges = {name: tuple((begin, end) for begin, end in done[name]) for name in _RANGES}
        done = DayDone(**{**done, **ranges})
    return BookDone(document["day"], done, None if error is None else error_of(error))


_RANGES: Final = ("filled", "held", "lacking", "made")


def _wait(attempt: int) -> None:
    time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
