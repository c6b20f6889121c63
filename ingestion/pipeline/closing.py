"""Closing rows: computed up to a watermark, and handed to the sinks as they come.

1. The rows of one tick are handed on in parts of LANES_AT_ONCE symbols, so that the sinks work on the first ones while
   the others are computed: the online store is another process, and its client and a kernel wait for each other little.
2. They are handed on together where more than a second may be due, because the sinks bound what a silence brings by
   the rows that come at once, and while a version that has come may be taken back, for all symbols at one row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from ingestion.pipeline.change import EngineChange, said
from ingestion.pipeline.counters import Counters
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.lanes import Lanes
from ingestion.pipeline.served_rows import Availability, RowSink, ServedRows
from market.clock import SECOND_NS
from transforms.rows import FeatureRows

LANES_AT_ONCE: Final = 32


class Closing:
    """Closes the rows of a pipeline's lanes; its counters count them.

    withhold: what becomes of rows before anybody gets them.
    """

    def __init__(
        self,
        counters: Counters,
        sinks: Sequence[RowSink],
        availability: Availability,
        withhold: Callable[[FeatureRows], FeatureRows],
    ) -> None:
        self.sinks = tuple(sinks)
        self._counters = counters
        self._availability = availability
        self._withhold = withhold
        self._closed_ns = 0

    def advance(self, lanes: Lanes, watermark_ns: int, now_ns: int) -> int:
        """Close the rows of every lane, and change to another version behind the row where that is due; how many."""
        change = lanes.change
        if change is None:
            return self._close(lanes, None, watermark_ns, now_ns)
        by_symbol, count = lanes.by_symbol, 0
        boundary_ns = change.boundary_ns(by_symbol, watermark_ns)
        if boundary_ns is not None:
            count = self._close(lanes, change, boundary_ns, now_ns)
            change.cross(by_symbol, boundary_ns)
            lanes.kernel = change.serving
        count += self._close(lanes, change, watermark_ns, now_ns)
        change.note_served(by_symbol, watermark_ns)
        if change.is_over:
            lanes.change = None
        return count

    def served(self, lane: Lane, rows: FeatureRows, now_ns: int) -> ServedRows:
        """Rows of a lane as they are handed on."""
        return ServedRows(
            self._withhold(rows),
            self._availability(rows.row_ns, now_ns),
            trace_id=lane.trace_id,
            newest_recv_ns=lane.closed.newest_in_row_ns,
            wait_durable=lane.durability(),
        )

    def _close(self, lanes: Lanes, change: EngineChange | None, watermark_ns: int, now_ns: int) -> int:
        together = list(lanes.by_symbol.values())
        before_ns, self._closed_ns = self._closed_ns, watermark_ns
        if change is not None and change.is_on_probation:
            return self._hand_on(together, self._on_probation(lanes, change, together, watermark_ns), now_ns)
        step = LANES_AT_ONCE if 0 < watermark_ns - before_ns <= SECOND_NS else max(1, len(together))
        parts = [together[first : first + step] for first in range(0, len(together), step)]
        return sum(self._hand_on(part, [lane.compute(watermark_ns) for lane in part], now_ns) for part in parts)

    def _hand_on(self, lanes: Sequence[Lane], computed: Sequence[FeatureRows], now_ns: int) -> int:
        served = []
        for lane, rows in zip(lanes, computed, strict=True):
            lane.note_closed(rows)
            if len(rows) > 0:
                served.append(self.served(lane, rows, now_ns))
        if not served:
            return 0
        for sink in self.sinks:
            sink.write(served)
        count = sum(len(each.rows) for each in served)
        seconds = sum(len(each.rows.at_seconds()) for each in served)
        self._counters.rows += seconds
        self._counters.tick_rows += count - seconds
        return count

    def _on_probation(
        self, lanes: Lanes, change: EngineChange, together: Sequence[Lane], watermark_ns: int
    ) -> list[FeatureRows]:
        """The next rows of each lane, of the version before where the one that came in its place fails at them."""
        begun_s = time.thread_time()
        try:
            computed = [lane.compute(watermark_ns) for lane in together]
        except Exception as error:  # noqa: BLE001  # what a version raises ends that version, and no row is missed
            change.take_back(lanes.by_symbol, f"a row after the change: {said(error)}")
            lanes.kernel = change.serving
            return [lane.compute(watermark_ns) for lane in together]
        change.note_cost(time.thread_time() - begun_s, sum(map(len, computed)))
        return computed
