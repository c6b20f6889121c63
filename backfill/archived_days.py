"""Trades and order books of archived days, decoded by an engine while whoever asks goes on with other data.

1. A task is one day of either. What its bytes depend on is settled by who asks: nothing live is held of the day, the
   file of the archive is all that there may be, and the symbol's scale is pinned.
2. Whether history begins with a day of trades depends on what becomes of the day before, which may be a task too: it is
   taken to end well. So a task puts the files of trades in their places, and who asks names them, in the order of the
   days; where the day before did not end well, the files are removed and who asks decodes the day.
3. A day that fails stops no other: its error is a result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from backfill.bybit.archive import Archive
from backfill.days import DayDone, done_of, is_beginning, lock_of, name_day, standing, store_day, write_day
from backfill.fetching import Destination, Place, SymbolDay, archived
from backfill.held import Held, held_of
from backfill.request import FROM_ARCHIVE
from ingestion.tape.whole import whole_raw
from market.clock import DAY_NS, SystemClock
from market.errors import Conflict, FeatureServiceError, StoreUnavailable
from market.instruments import Instrument
from market.markets import Market
from storage.file_locks import exclusive
from storage.raw.manifest import RawPart
from storage.raw.parquet import discard_part
from storage.raw.raw_data import RawData
from training_sets.engines.error_documents import error_document, error_of
from training_sets.engines.job_queue import Kind

ARCHIVED_AFTER_NS: Final = 2 * DAY_NS
"""From the begin of a day: what the exchange returns by REST is of later days."""
_PART: Final = msgspec.json.Decoder(RawPart | None)
_NOTHING: Final = Held(frozenset(), ())
_RANGES: Final = ("filled", "held", "lacking", "made")
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
class ArchivedDone:
    """What became of a day, or why it failed. part: what has its files in their places and waits for its name."""

    asked: SymbolDay
    done: DayDone | None
    part: RawPart | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """The task. archive: a folder or an address. is_beginning: whether history of trades is taken to begin with it."""

    raw: RawData
    archive: str
    asked: SymbolDay
    instrument: Instrument
    market: Market
    is_beginning: bool = False

    def perform(self, is_stopping: Callable[[], bool]) -> ArchivedDone:
        """Make the day stand in raw Parquet, trades but for their name; given up, without a trace, when to stop."""
        try:
            return self._stored(is_stopping)
        except FeatureServiceError as error:
            return ArchivedDone(self.asked, None, error=error)

    def _stored(self, is_stopping: Callable[[], bool]) -> ArchivedDone:
        def go_on() -> None:
            if is_stopping():
                raise Conflict(f"{self.asked}: must be decoded to its end, was stopped")

        asked, destination = self.asked, Destination(self.raw, FixedScale(self.instrument), self.market, SystemClock())
        with exclusive(lock_of(self.raw, asked), gives_up=is_stopping), ExitStack() as lent:
            known = standing(self.raw.place, asked)
            if known is not None and known.is_whole:
                return ArchivedDone(asked, done_of(known, is_stored=False))
            found = archived(Archive(self.archive, _wait), asked, lent, is_beginning=self.is_beginning)
            if asked.data_type == "trades":
                part, done = write_day(destination, asked, _NOTHING, found, on_piece=go_on)
                return ArchivedDone(asked, done, part)
            return ArchivedDone(asked, store_day(destination, asked, _NOTHING, found, on_piece=go_on))


def archived_tasks(place: Place, symbol: str, days: Sequence[str], data_types: Collection[str]) -> list[ArchivedDay]:
    """The days that only an archive has and nobody decoded yet, in their order, of a symbol with a pinned scale.

    Raises CorruptStore.
    """
    instrument = place.instruments.get(symbol)
    assert instrument is not None, "a scale is pinned before"
    asked = [SymbolDay(symbol, data_type, day) for day in sorted(days) for data_type in data_types]
    now_ns = place.clock.now_ns()
    due = [day for day in asked if day.data_type in FROM_ARCHIVE and day.day_ns + ARCHIVED_AFTER_NS <= now_ns]
    due = [day for day in due if (known := standing(place.raw.place, day)) is None or not known.is_whole]
    with whole_raw(place.raw, symbol, place.instruments) as raw:
        due = [day for day in due if not held_of(raw, symbol, day.data_type, day.day_ns).ranges]
    market = place.destination.market
    return [
        ArchivedDay(
            place.raw,
            place.address(day.data_type),
            day,
            instrument,
            market,
            day.data_type == "trades" and day.before not in due and is_beginning(place.raw.place, day),
        )
        for day in due
    ]


class ArchivedAhead:
    """The archived days of a symbol, by the place's engine, from the first that is asked for on; ``close`` it."""

    def __init__(self, place: Place, symbol: str, days: Sequence[str], data_types: Collection[str]) -> None:
        self._place = place
        self._symbol = symbol
        self._days = days
        self._data_types = data_types
        self._results: Iterator[ArchivedDone] | None = None
        self._left: dict[SymbolDay, ArchivedDay] = {}
        self._known: dict[SymbolDay, ArchivedDone] = {}

    def of(self, asked: SymbolDay) -> DayDone | None:
        """What became of a day; None of one that is left to who asks. Waits for it, and raises what it failed with.

        Days of trades are asked for in their order.
        """
        self._begin(asked.day)
        if asked not in self._left or self._results is None:
            return None
        while asked not in self._known:
            try:
                found = next(self._results)
            except StoreUnavailable as error:
                _log.warning("%s; archived days of %s are decoded in this process", error, self._symbol)
                self._left = {day: task for day, task in self._left.items() if day in self._known}
                self._results = iter(())
                return None
            self._known[found.asked] = found
        task, found = self._left.pop(asked), self._known.pop(asked)
        if found.error is not None:
            raise found.error
        return found.done if found.part is None else self._named(task, found)

    def close(self) -> None:
        """Have days that have begun end where they are whole or nothing, and begin no other."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()
        for found in self._known.values():
            if found.part is not None:
                self._discard(found.asked, found.part)

    def _discard(self, asked: SymbolDay, part: RawPart) -> None:
        """Remove what nobody will name; where that cannot be, decoding the day again names it or takes its place."""
        try:
            with exclusive(lock_of(self._place.raw, asked)):
                discard_part(self._place.raw.place, part)
        except StoreUnavailable as error:
            _log.warning("%s: files that the manifest does not name remain: %s", asked, error)

    def _begin(self, day: str) -> None:
        """Give the engine the days from this one on, once there is a scale."""
        engine = self._place.engine
        if engine is None or self._results is not None or self._place.instruments.get(self._symbol) is None:
            return
        tasks = archived_tasks(
            self._place, self._symbol, [each for each in self._days if each >= day], self._data_types
        )
        self._results = iter(())
        if len(tasks) > 1:
            self._left = {task.asked: task for task in tasks}
            self._results = engine.run(tasks)

    def _named(self, task: ArchivedDay, found: ArchivedDone) -> DayDone | None:
        """A day of trades; None if somebody else decoded it meanwhile, or history begins otherwise than was taken."""
        place, asked = self._place, found.asked
        assert found.part is not None
        assert found.done is not None, "of a day that failed there is no part"
        with exclusive(lock_of(place.raw, asked)):
            known = standing(place.raw.place, asked)
            is_taken = known is not None and known.is_whole
            if is_taken or is_beginning(place.raw.place, asked) != task.is_beginning:
                discard_part(place.raw.place, found.part)
                return None
            name_day(place.destination, asked, found.part, found.done)
        return found.done


def archived_kind(raw: RawData, *, trades: str, orderbook: str) -> Kind[ArchivedDone]:
    """Archived days as JSON, for a queue whose workers know the stores, and the archives with their credentials."""

    def task(document: Mapping[str, Any]) -> ArchivedDay:
        asked = SymbolDay(**document["asked"])
        return ArchivedDay(
            raw,
            trades if asked.data_type == "trades" else orderbook,
            asked,
            Instrument(**document["instrument"]),
            Market(**document["market"]),
            document["is_beginning"],
        )

    return Kind("archived day", ArchivedDay, _document_of, task, _result_document, _result)


def _document_of(task: ArchivedDay) -> dict[str, Any]:
    named = {name: asdict(getattr(task, name)) for name in ("asked", "instrument", "market")}
    return named | {"is_beginning": task.is_beginning}


def _result_document(found: ArchivedDone) -> dict[str, Any]:
    return {
        "asked": asdict(found.asked),
        "done": None if found.done is None else asdict(found.done),
        "part": msgspec.json.encode(found.part).decode(),
        "error": None if found.error is None else error_document(found.error),
    }


def _result(document: Mapping[str, Any]) -> ArchivedDone:
    done, error = document["done"], document["error"]
    if done is not None:
        ranges = {name: tuple((begin, end) for begin, end in done[name]) for name in _RANGES}
        done = DayDone(**{**done, **ranges})
    error = None if error is None else error_of(error)
    return ArchivedDone(SymbolDay(**document["asked"]), done, _PART.decode(document["part"]), error)


def _wait(attempt: int) -> None:
    time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
