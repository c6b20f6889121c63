"""Traces of rows: where the time went from a row's time until Redis held it, and which step took most of it.

Steps: ``wait`` from the row's time until it was begun (the grace, a watermark behind, messages before it), ``compute``
until the rows of all symbols were closed and handed on, ``store`` from there until the online store held them.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter

from market.clock import MILLISECOND_NS, format_iso

STEPS: Final = ("wait", "compute", "store")
KEPT: Final = 2_000
"""The latest rows that the slowest are looked for among."""
SHOWN: Final = 10
_UNDER_WAY: Final = 100
"""Rows that were begun and are not stored: one whose symbols' newer rows took its place never is."""


@dataclass(slots=True)
class _Trace:
    row_ns: int
    begun_ns: int
    closed_ns: int = 0
    stored_ns: int = 0

    @property
    def steps_ns(self) -> tuple[int, int, int]:
        """Of each step. The store may hold the rows before the last sink has them."""
        closed_ns = min(self.closed_ns, self.stored_ns)
        return self.begun_ns - self.row_ns, closed_ns - self.begun_ns, self.stored_ns - closed_ns

    @property
    def slowest(self) -> str:
        steps_ns = self.steps_ns
        return STEPS[steps_ns.index(max(steps_ns))]


class RowTraces:
    """One trace a row time, of all symbols; told by the thread that computes and by the one that stores."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._slowest = Counter(
            "feature_service_row_slowest_step",
            "Row times by the step that took longest until the online store held them.",
            ["step"],
            registry=registry,
        )
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._under_way: dict[int, _Trace] = {}
        self._latest: deque[_Trace] = deque(maxlen=KEPT)

    def note_begun(self, row_ns: int, begun_ns: int) -> None:
        """The rows of a time are computed next."""
        with self._lock:
            self._under_way[row_ns] = _Trace(row_ns, begun_ns)
            while len(self._under_way) > _UNDER_WAY:
                del self._under_way[next(iter(self._under_way))]

    def note_closed(self, row_ns: int, closed_ns: int) -> None:
        """All of them were handed on."""
        with self._lock:
            if (trace := self._under_way.get(row_ns)) is not None:
                trace.closed_ns = closed_ns
                self._end(trace)

    def note_stored(self, row_ns: int, stored_ns: int) -> None:
        """The online store holds them."""
        with self._lock:
            if (trace := self._under_way.get(row_ns)) is not None:
                trace.stored_ns = stored_ns
                self._end(trace)

    def _end(self, trace: _Trace) -> None:
        if trace.closed_ns and trace.stored_ns:
            del self._under_way[trace.row_ns]
            self._latest.append(trace)
            self._slowest.labels(trace.slowest).inc()

    def document(self) -> dict[str, Any]:
        """``count`` of the latest row times, ``slowest`` how often each step was, ``rows`` the slowest of them first.

        Each row: row_time, total_ms, ms by step, slowest.
        """
        with self._lock:
            latest = list(self._latest)
        latest.sort(key=lambda trace: trace.stored_ns - trace.row_ns, reverse=True)
        names = [trace.slowest for trace in latest]
        return {
            "count": len(latest),
            "slowest": {step: names.count(step) for step in STEPS},
            "rows": [
                {
                    "row_time": format_iso(trace.row_ns),
                    "total_ms": _ms(trace.stored_ns - trace.row_ns),
                    **{f"{step}_ms": _ms(ns) for step, ns in zip(STEPS, trace.steps_ns, strict=True)},
                    "slowest": name,
                }
                for trace, name in zip(latest[:SHOWN], names[:SHOWN], strict=True)
            ],
        }


def _ms(span_ns: int) -> float:
    return round(span_ns / MILLISECOND_NS, 3)
