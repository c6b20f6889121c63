"""The newest row of each symbol on its way to a slow place, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ingestion.pipeline.served_rows import RowSink, ServedRows


class LatestRows:
    """Hands the newest row of each symbol to another sink; ``write`` never waits.

    Rows that come while the sink is busy replace each other, so that at most one a symbol waits.

    on_written: called in the thread with what was written, after it was; what it raises is raised as the sink's is.
    """

    def __init__(
        self, sink: RowSink, *, on_written: Callable[[Sequence[ServedRows]], object] = lambda _served: None
    ) -> None:
        self.replaced = 0
        self._sink = sink
        self._on_written = on_written
        self._changed = threading.Condition()
        # Guarded by _changed.
        self._waiting: dict[str, ServedRows] = {}
        self._is_busy = self._is_closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="newest rows", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether rows wait or are being written."""
        return self._is_busy or len(self._waiting) > 0

    def write(self, served: Sequence[ServedRows]) -> None:
        """Take the newest of the rows. Raises what the sink raised."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            for each in served:
                if len(each.rows) > 0:
                    self.replaced += each.rows.symbol in self._waiting
                    self._waiting[each.rows.symbol] = each
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
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                served, self._waiting = list(self._waiting.values()), {}
                self._is_busy = True
            if not served:
                return
            try:
                self._sink.write(served)
                self._on_written(served)
            except Exception as error:  # noqa: BLE001  # the top of a thread: the next write raises it
                self._failure = error
                return
