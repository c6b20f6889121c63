"""The record of closed rows: the feature log, what readers were given, and checkpoints, by a thread of their own.

1. Rows wait in order until the messages they were made of are durable: what a crash takes from the tape was never in
   the log. The log gets those at whole seconds.
2. A checkpoint follows the rows it comes after: both are flushed, then the checkpoint is written. So a restart from it
   makes every row again that the log may lack. Checkpoints that wait together are written together: 39 files of a
   symbol synced one by one, those of 500 symbols, took minutes.
3. The queue is bounded. When it is full the pipeline waits: boundary rows are never dropped. It waits as well until
   many rows at once, those of a long silence, are in the log.
4. What the disk refuses is final: every later call raises it, and a restart recovers. An object store that is away is
   not: ``RowLog`` keeps the rows, and no checkpoint is written behind rows that are in no log.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.record_items import MOST_CHECKPOINTS, Given, Item, Kept, Mark, Marks, together
from ingestion.sinks.row_log import LastNs, Remake, RowLog
from market.errors import FeatureServiceError, StoreUnavailable
from storage.checkpoints import Checkpoint, stage_checkpoint
from storage.features.log import FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter
from storage.file_group import FileGroup, group_sync
from storage.group_sync import GroupSync
from storage.objects.path import ObjectPath
from transforms.rows import FeatureSet

_log = logging.getLogger(__name__)

WAITING_ITEMS: Final = 10_000
"""Batches of rows and checkpoints that may wait for the disk: minutes of many symbols."""
FULL_DEADLINE_S: Final = 60.0
"""A disk that takes longer to make room has failed."""
DURABLE_POLL_S: Final = 0.2
CLOSE_S: Final = 12.0
"""An object store may take at the end: a worker has twenty."""
MANY_ROWS: Final = 3600
"""Rows of one batch that come of a silence: no more than one such batch waits."""


class RowRecord:
    """Keeps closed rows and checkpoints, and gives a restarted pipeline what was kept.

    is_whole: whether the next messages of a symbol continue where its tape ended. check: called before each write;
    raises what forbids it. stored_ns: of what the online store has. give_way: called before anything is kept; waits
    while rows are on their way to readers.
    """

    def __init__(  # noqa: PLR0913  # what it writes to, and what is asked on the way, each a plain call
        self,
        log: FeatureLogWriter,
        ticks: ServedTickWriter,
        *,
        raw_folder: Path,
        is_whole: Callable[[str], bool] = lambda _symbol: False,
        check: Callable[[], object] = lambda: None,
        stored_ns: LastNs = lambda _symbol: None,
        give_way: Callable[[], object] = lambda: None,
    ) -> None:
        self._log = RowLog(log, ticks, stored_ns=stored_ns, give_way=give_way)
        self._raw_folder = raw_folder
        self._is_whole = is_whole
        self._check = check
        self._give_way = give_way
        self._items: queue.Queue[Item | None] = queue.Queue(WAITING_ITEMS)
        self._failure: FeatureServiceError | None = None
        self._is_abandoned = threading.Event()
        self._has_given_up = threading.Event()
        self._sync: GroupSync | None = None
        self._room = threading.Semaphore(MOST_CHECKPOINTS)
        self._thread = threading.Thread(target=self._run, name="row record", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Batches that are not in the log yet."""
        return self._items.qsize()

    @property
    def outages(self) -> int:
        """How often the object store of the feature log went away."""
        return self._log.outages

    @property
    def is_away(self) -> bool:
        return self._log.is_away

    @property
    def symbols_left_out(self) -> int:
        """Symbols with rows that are to be made from the tape."""
        return self._log.symbols_left_out

    def make_left_out_with(self, remake: Remake) -> None:
        """What makes the rows that an outage left no room for; called in this record's thread."""
        self._log.remake = remake

    def write(self, served: Sequence[ServedRows]) -> None:
        """Keep those at whole seconds once their messages are durable. Raises StoreUnavailable, from then on always."""
        logged = [whole for whole in (each.whole_seconds() for each in served) if len(whole.rows) > 0]
        if logged:
            self._put(logged)
        if sum(len(each.rows) for each in logged) > MANY_ROWS:
            self._wait_until_kept()

    def note_given(self, served: Sequence[ServedRows], *, given_ns: int) -> None:
        """Keep, of each, that its last row was given to readers by then; from any thread. Raises StoreUnavailable."""
        self._put(Given(served, given_ns))

    def has_room(self) -> bool:
        """Whether the next checkpoint need not wait for others to be kept; the thread that keeps them asks."""
        if not self._room.acquire(blocking=False):
            return False
        self._room.release()
        return True

    def keep_checkpoint(self, symbol: str, checkpoint: Checkpoint, wait_durable: Callable[[float], bool]) -> None:
        """Keep it after the rows written before; waits for room, unless the store is away. Raises as ``write``."""
        while not self._room.acquire(timeout=DURABLE_POLL_S):
            if self._failure is not None:
                raise self._failure
            if self._log.is_away:
                return
        self._put(Mark(symbol, checkpoint, wait_durable))

    def last_row_ns(self, symbol: str, feature_set: FeatureSet) -> int | None:
        return self._log.last_row_ns(symbol, feature_set)

    def last_given_ns(self, symbol: str) -> int | None:
        return self._log.last_given_ns(symbol)

    def write_again(self, served: ServedRows) -> None:
        """Keep rows that were closed before a restart and did not reach the disk."""
        self._put([served])

    def is_whole(self, symbol: str) -> bool:
        return self._is_whole(symbol)

    def close(self) -> None:
        """Write what waits and close the log; the tapes must be closed. Raises StoreUnavailable.

        It waits CLOSE_S for an object store: what is not written by then, the next start makes from the tape.
        """
        self._is_abandoned.set()
        self._log.is_closing = True
        until_s = time.monotonic() + CLOSE_S if isinstance(self._log.files.folder, ObjectPath) else None
        self._put_last(until_s)
        self._thread.join(None if until_s is None else max(0.0, until_s - time.monotonic()))
        if self._thread.is_alive():
            self._has_given_up.set()
            _log.warning("feature log: its object store took over %g s, the next start writes the rows", CLOSE_S)
        if self._failure is not None:
            raise self._failure

    def _put(self, item: Item) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            self._items.put(item, timeout=FULL_DEADLINE_S)
        except queue.Full as error:
            told = f"feature log: must accept rows within {FULL_DEADLINE_S:g} s, had {WAITING_ITEMS} waiting"
            raise StoreUnavailable(told) from error

    def _wait_until_kept(self) -> None:
        """Wait for everything that was put. Raises what the thread met."""
        is_kept = threading.Event()
        self._put(is_kept)
        while not is_kept.wait(DURABLE_POLL_S):
            if self._failure is not None:
                raise self._failure

    def _put_last(self, until_s: float | None) -> None:
        while self._thread.is_alive() and (until_s is None or time.monotonic() < until_s):
            try:
                self._items.put(None, timeout=DURABLE_POLL_S)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        try:
            for item in together(self._items):
                if isinstance(item, Marks):
                    self._keep_checkpoints(item.marks)
                else:
                    self._keep(item)
                self._log.look()
            self._log.close()
        except FeatureServiceError as error:
            self._failure = error
        finally:
            if self._sync is not None:
                self._sync.close()

    def _keep_checkpoints(self, marks: Sequence[Mark]) -> None:
        durable = {mark.symbol: mark.checkpoint for mark in marks if self._is_durable(mark.wait_durable)}
        if durable:
            self._check()
            if (written := self._log.publish(list(durable))) and not self._has_given_up.is_set():
                if self._sync is None:
                    self._sync = group_sync(self._raw_folder)
                with FileGroup(self._sync) as group:
                    for symbol in written:
                        stage_checkpoint(self._raw_folder, symbol, durable[symbol], group)
                    group.publish()
        for _ in marks:
            self._room.release()

    def _keep(self, item: Kept) -> None:
        if isinstance(item, threading.Event):
            item.set()
            return
        self._give_way()
        given_ns = item.given_ns if isinstance(item, Given) else None
        for each in item.served if isinstance(item, Given) else item:
            if not self._is_durable(each.wait_durable):
                continue
            self._check()
            if given_ns is not None:
                newest = each.only(slice(-1, None))
                self._log.append_given(newest.rows, np.maximum(newest.available_ns, given_ns))
            else:
                self._log.append(each.rows, each.available_ns)

    def _is_durable(self, wait_durable: Callable[[float], bool]) -> bool:
        """Wait for it; False once the record is closing and the tape was closed without it.

        Raises StoreUnavailable when the tape has failed: nothing may be served any longer that it cannot prove.
        """
        try:
            while not wait_durable(DURABLE_POLL_S):
                if self._is_abandoned.is_set():
                    return False
        except StoreUnavailable:
            if self._is_abandoned.is_set():
                return False
            raise
        return True
