"""The newest row of each symbol on its way to a slow place, in a thread of its own."""

from __future__ import annotations

import threading
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
        self._changed = threading.Condition()
        # Guarded by _changed.
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
