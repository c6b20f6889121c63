"""The newest row of each symbol on its way to a slow place, in a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

from ingestion.pipeline.served_rows import RowSink, ServedRows


class LatestRows:
    """Hands the newest row of each symbol to another sink; ``write`` never waits.

    Rows that come while the sink is busy replace each other, so that at most one a symbol waits. Those of a time may
    come in parts: the sink works on the first ones while the others are computed.

    on_written: called in the thread with what was written, after it was. on_whole: called in the thread with a row time
    once all rows that were given before ``note_whole`` are written. What they raise is raised as the sink's is.
    """

    def __init__(
        self,
        sink: RowSink,
        *,
        on_written: Callable[[Sequence[ServedRows]], object] = lambda _served: None,
        on_whole: Callable[[int], object] = lambda _row_ns: None,
    ) -> None:
        self.replaced = 0
        self._sink = sink
        self._on_written = on_written
        self._on_whole = on_whole
        lock = threading.Lock()
        self._changed, self._stored = threading.Condition(lock), threading.Condition(lock)
        # Guarded by the lock of both.
        self._busy_since_s = -math.inf
        self._waiting: dict[str, ServedRows] = {}
        self._whole_ns: int | None = None
        self._is_busy = self._is_closing = self._lacks_rows = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="newest rows", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether rows wait, are being written, or were given without the others of their time."""
        return self._is_busy or self._lacks_rows or len(self._waiting) > 0

    def write(self, served: Sequence[ServedRows]) -> None:
        """Take the newest of the rows. Raises what the sink raised."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if not self.is_busy:
                self._busy_since_s = time.monotonic()
            for each in served:
                if len(each.rows) > 0:
                    self.replaced += each.rows.symbol in self._waiting
                    self._waiting[each.rows.symbol] = each
                    self._lacks_rows = True
            self._changed.notify()

    def note_whole(self, row_ns: int) -> None:
        """All rows of a time were given; of two times that wait, the later one counts for both."""
        with self._changed:
            self._whole_ns = row_ns
            self._lacks_rows = False
            self._changed.notify()

    def wait_until_stored(self, longest_s: float) -> None:
        """Wait until nothing is on its way, but not once something has been for ``longest_s``: the sink is slow then.

        For who works beside the rows: each thread that computes meanwhile takes the interpreter from them.
        """
        with self._stored:
            self._stored.wait_for(lambda: not self.is_busy, self._busy_since_s + longest_s - time.monotonic())

    def close(self) -> None:
        """Write what waits, then close the sink."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._sink.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                if not self.is_busy:
                    self._stored.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._whole_ns is not None or self._is_closing)
                served, self._waiting = list(self._waiting.values()), {}
                whole_ns, self._whole_ns = self._whole_ns, None
                self._is_busy = True
            if not served and whole_ns is None:
                return
            try:
                if served:
                    self._sink.write(served)
                    self._on_written(served)
                if whole_ns is not None:
                    self._on_whole(whole_ns)
            except Exception as error:  # noqa: BLE001  # the top of a thread: the next write raises it
                self._failure = error
                return
