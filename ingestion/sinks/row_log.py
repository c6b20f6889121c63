"""The feature log and the record of given rows as one writer, which goes on while their object store is away.

1. While the store answers, a buffer is written once it is full, and before a checkpoint of its symbol.
2. Once it does not, rows wait in memory, MOST_ROWS of all symbols, and nothing is written. Every RETRY_S the store is
   asked, in one attempt, whether it answers; once it does, what waits is written.
3. Rows that find no room are left out, with all that follow of their symbol. They are made again from the tape and the
   last checkpoint, as a start makes them, one symbol at a time: what comes meanwhile is kept in between.
4. A start while the store is away does not know where the log ends. It makes every row since the last checkpoint again,
   and once the store is back, those that the log has are dropped.

What a disk refuses is raised at once: the tape is on it too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np

from ingestion.pipeline.served_rows import ServedRows
from market.errors import FeatureServiceError, StoreUnavailable
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.part_times import Int64s
from storage.features.served_ticks import ServedTickWriter, last_served_tick_ns
from storage.file_group import FileGroup, group_sync
from storage.group_sync import GroupSync
from storage.objects.path import ObjectPath
from storage.objects.reach import WITHIN_S, answered_within
from storage.outages import Outage
from transforms.rows import FeatureRows, FeatureSet

MOST_ROWS: Final = 200_000
"""Rows of the log that wait, and as many given ones: some 400 MB of 76 columns."""
RETRY_S: Final = 5.0
LONG_S: Final = 20.0
SYMBOLS_AT_ONCE: Final = 32

LastNs = Callable[[str], int | None]
"""From a symbol, the time of its newest row in a store; None where there is none, or the store is away."""
Remake = Callable[[str, FeatureSet, int, int], ServedRows | None]
"""From a symbol, a feature set and two row times: the rows between them, both included, made from the tape; None where
the tape does not lead there."""

_log = logging.getLogger(__name__)


class RowLog:
    """Both logs, for one thread; what it says of itself may be asked from any."""

    def __init__(
        self,
        log: FeatureLogWriter,
        ticks: ServedTickWriter,
        *,
        stored_ns: LastNs = lambda _symbol: None,
        name: str = "the feature log",
        remedy: str = "feature-service rebuild --symbol {symbol} computes them",
        give_way: Callable[[], object] = lambda: None,
    ) -> None:
        """stored_ns: of what the online store has, which was given to readers.

        name: of the log, for lines about it. remedy: for rows that the tape does not give. give_way: called before the
        files of a symbol are made, which takes ten milliseconds of the interpreter.
        """
        self.remake: Remake = lambda *_: None
        self.is_closing = False
        """Set from another thread: nothing is tried any more that may take long."""
        self._log = log
        self._ticks = ticks
        self._stored_ns = stored_ns
        self._name, self._remedy = name, remedy
        self._unsettled: set[tuple[str, FeatureSet]] = set()
        """Of which it is not known where the log ends."""
        self._noting = threading.Lock()
        self._give_way = give_way
        self._retry_at_s = 0.0
        self._asked_s: float | None = None
        self._left_out: dict[tuple[str, FeatureSet], tuple[int, int]] = {}
        self._sync: GroupSync | None = None
        self._outage = Outage(
            _log,
            f"the object store of {name}",
            meanwhile="rows wait in memory and are made from the tape beyond that",
        )

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer, or has not for LONG_S: one that takes requests and hangs gets 9 minutes."""
        asked_s = self._asked_s
        return self._outage.is_on or (asked_s is not None and time.monotonic() - asked_s > LONG_S)

    @property
    def outages(self) -> int:
        """How often the store went away."""
        return self._outage.count

    @property
    def files(self) -> FeatureLog:
        """What is written."""
        return self._log.log

    @property
    def symbols_left_out(self) -> int:
        """Symbols with rows that are to be made from the tape."""
        return len({symbol for symbol, _ in list(self._left_out)})

    def last_row_ns(self, symbol: str, feature_set: FeatureSet) -> int | None:
        """Time of the newest row of a set in the log; from another thread, before the first row of the symbol comes.

        None where there is none, or the store is away: then what the log has is not written again. Raises CorruptStore.
        """
        try:
            return self._asked(lambda: self.files.last_served_row_ns(symbol, feature_set))
        except StoreUnavailable:
            self._unsettled.add((symbol, feature_set))
            return None

    def last_given_ns(self, symbol: str) -> int | None:
        """Time of the newest row that is on record as given, or is in the online store while the record is away.

        From another thread. Raises CorruptStore.
        """
        try:
            return self._asked(lambda: last_served_tick_ns(self.files, symbol))
        except StoreUnavailable:
            return self._stored_ns(symbol)

    def append(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """Take rows at whole seconds. Raises StoreUnavailable when a disk refuses, InvalidRequest."""
        key = (rows.symbol, rows.feature_set)
        if key in self._left_out or (self._outage.is_on and self._log.buffered_rows + len(rows) > MOST_ROWS):
            first_ns, _ = self._left_out.get(key, (int(rows.row_ns[0]), 0))
            self._left_out[key] = first_ns, int(rows.row_ns[-1])
            return
        self._log.keep(rows, available_ns)
        if not self._outage.is_on:
            self._try(self._flush_full)

    def append_given(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """Take rows that readers were given. Raises as ``append``."""
        if self._outage.is_on and self._ticks.buffered_rows + len(rows) > MOST_ROWS:
            return
        self._ticks.keep(rows, available_ns)
        if not self._outage.is_on:
            self._try(self._ticks.flush_full)

    def publish(self, symbols: Sequence[str]) -> list[str]:
        """Write what waits of these symbols; those of which everything is written. Raises as ``append``."""
        if self._outage.is_on or not self._try(lambda: self._write(symbols)):
            return []
        behind = {symbol for symbol, _ in self._left_out}
        return [symbol for symbol in symbols if symbol not in behind]

    def flush(self) -> None:
        """Write what waits, unless the store is away. Raises as ``append``."""
        if not self._outage.is_on:
            self._try(self._write_all)

    def look(self) -> None:
        """Between two rows: see whether the store is back, and make rows of a symbol that were left out."""
        if self.is_closing:
            return
        if self._outage.is_on:
            if time.monotonic() >= self._retry_at_s and self._try(self._ask_and_write):
                with self._noting:
                    self._outage.end()
        elif self._left_out:
            self._make_again(next(iter(self._left_out)))

    def close(self) -> None:
        """Write what waits, unless the store is away. Raises as ``append``."""
        try:
            self.flush()
        finally:
            if self._sync is not None:
                self._sync.close()
        if self._outage.is_on or self._left_out:
            _log.warning("rows that are not in %s are on the tape: the next start writes them", self._name)

    def _try(self, write: Callable[[], object]) -> bool:
        """Whether it was written; when it was not, an outage begins or lasts."""
        is_remote = isinstance(self.files.folder, ObjectPath)
        self._asked_s = time.monotonic() if is_remote else None
        try:
            write()
        except StoreUnavailable as error:
            if not is_remote:
                raise
            self._note_away(error)
            return False
        finally:
            self._asked_s = None
        return True

    def _note_away(self, error: StoreUnavailable) -> None:
        with self._noting:
            self._retry_at_s = time.monotonic() + RETRY_S
            self._outage.begin(error)

    def _asked(self, ask: Callable[[], int | None]) -> int | None:
        """What an object store answers in bounded time. Raises StoreUnavailable while it is away."""
        if not isinstance(self.files.folder, ObjectPath):
            return ask()
        if self.is_away:
            raise StoreUnavailable(f"{self.files.folder}: is away")
        try:
            return answered_within(ask, WITHIN_S, self.files.folder)
        except StoreUnavailable as error:
            self._note_away(error)
            raise

    def _flush_full(self) -> None:
        self._settle({symbol for symbol, _ in list(self._unsettled)})
        self._log.flush_full()

    def _settle(self, symbols: Collection[str]) -> None:
        """Drop of the rows that wait those that the log has."""
        for symbol, feature_set in [key for key in list(self._unsettled) if key[0] in symbols]:
            key = symbol, feature_set
            last_ns = self.files.last_served_row_ns(symbol, feature_set)
            if last_ns is not None:
                for rows, available_ns in self._log.take_out(key):
                    later = slice(int(np.searchsorted(rows.row_ns, last_ns, side="right")), None)
                    self._log.keep(rows.only(later), available_ns[later])
                first_left_ns, last_left_ns = self._left_out.get(key, (0, 0))
                if last_left_ns > last_ns:
                    self._left_out[key] = max(first_left_ns, last_ns + 1), last_left_ns
                else:
                    self._left_out.pop(key, None)
            self._unsettled.discard(key)

    def _ask_and_write(self) -> None:
        self.files.ask()
        self._write_all()

    def _write_all(self) -> None:
        symbols = sorted(self._log.buffered_symbols | self._ticks.buffered_symbols)
        for at in range(0, len(symbols), SYMBOLS_AT_ONCE):
            self._write(symbols[at : at + SYMBOLS_AT_ONCE])

    def _write(self, symbols: Sequence[str]) -> None:
        if self._sync is None:
            self._sync = group_sync(self.files.folder)
        self._settle(symbols)
        with self.files.writing(), FileGroup(self._sync) as group:
            for symbol in symbols:
                self._give_way()
                self._log.stage_symbol(symbol, group)
                self._ticks.stage_symbol(symbol, group)
            group.publish()

    def _make_again(self, key: tuple[str, FeatureSet]) -> None:
        symbol, feature_set = key
        first_ns, last_ns = self._left_out[key]
        try:
            made = self.remake(symbol, feature_set, first_ns, last_ns)
        except FeatureServiceError as error:
            _log.error("%s: cannot be made from the tape: %s", symbol, error)
            made = None
        del self._left_out[key]
        if made is None:
            _log.error(
                "%s: rows of the outage are not in %s; %s", symbol, self._name, self._remedy.format(symbol=symbol)
            )
            return
        self._log.keep(made.rows, made.available_ns)
        self._try(lambda: self._write([symbol]))
