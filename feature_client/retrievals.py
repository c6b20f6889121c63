"""Statistics of the retrievals of the last minutes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from market.clock import MILLISECOND_NS

MOST_RETRIEVALS: Final = 100_000
"""How many are remembered; of more in a window, the newest."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One call: when it ended, how long it took, its violations, what it requested and how many rows it returned.

    nulls: by reference; those without are left out.
    """

    at_ns: int
    latency_ns: int
    pit_violations: int
    references: tuple[str, ...] = ()
    rows: int = 0
    nulls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrievalStats:
    """Retrievals of a window. latency_ms: p50, p95, p99, empty if there was none. null_rates: 0 to 1 by reference."""

    count: int
    latency_ms: dict[str, float]
    null_rates: dict[str, float]
    pit_violations: int


class RetrievalLog:
    """The newest retrievals of one client; safe to share between threads."""

    def __init__(self) -> None:
        self._retrievals: deque[Retrieval] = deque(maxlen=MOST_RETRIEVALS)
        self._last_references: tuple[str, ...] = ()

    def add(self, retrieval: Retrieval) -> None:
        last = self._last_references
        if retrieval.references == last:
            # A model asks for the same each time: remembered once, they cost next to nothing.
            retrieval = replace(retrieval, references=last)
        self._last_references = retrieval.references
        self._retrievals.append(retrieval)

    def stats(self, *, since_ns: int) -> RetrievalStats:
        """Figures of the retrievals that ended at ``since_ns`` or later."""
        within = [retrieval for retrieval in tuple(self._retrievals) if retrieval.at_ns >= since_ns]
        latencies = sorted(retrieval.latency_ns for retrieval in within)
        nulls: Counter[str] = Counter()
        values: Counter[str] = Counter()
        for retrieval in within:
            nulls.update(retrieval.nulls)
            values.update(dict.fromkeys(retrieval.references, retrieval.rows))
        return RetrievalStats(
            count=len(within),
            latency_ms={
                f"p{percent}": latencies[ceil(len(latencies) * percent / 100) - 1] / MILLISECOND_NS
                for percent in ((50, 95, 99) if latencies else ())
            },
            null_rates={reference: nulls[reference] / count for reference, count in values.items() if count},
            pit_violations=sum(retrieval.pit_violations for retrieval in within),
        )
