"""What the ingest worker measures: Prometheus metrics, and the latest percentiles for its status.

Stages: ``transit`` from the receive time to the worker, ``handle`` a message from bytes to the engine, ``close`` from a
row's time to its closing (the grace included), ``online`` from a row's time until Redis holds it, ``fresh`` the same
from the stamp of the newest message in the row.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ingestion.worker.row_traces import RowTraces
from market.clock import SECOND_NS

STAGES: Final = ("transit", "handle", "close", "online", "fresh")
SAMPLES: Final = 2_000
"""The latest times of each stage that its percentiles are of."""
_BUCKETS: Final = (0.00005, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)


class StageTimes(Collector):
    """How long each stage takes; each stage is measured by one thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # prometheus_client's own histogram takes one time a call, with a lock: as long as a message in a batch.
        self._stages = {stage: _Times() for stage in STAGES}
        self.rows = RowTraces(registry)
        registry.register(self)

    def observe(self, stage: str, *seconds: float) -> None:
        """More times of a stage."""
        self._stages[stage].add(seconds)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "feature_service_stage_seconds", "Time of each stage from a message to a served row.", labels=["stage"]
        )
        for stage, times in self._stages.items():
            below = list(accumulate(times.counts))
            bounds = [*map(floatToGoString, _BUCKETS), "+Inf"]
            family.add_metric([stage], list(zip(bounds, below, strict=True)), times.sum_s)
        yield family

    def note_closed(self, row_ns: int, closed_ns: int) -> None:
        """The rows of a time, of all symbols, were closed and handed on."""
        self.rows.note_closed(row_ns, closed_ns)
        self.observe("close", (closed_ns - row_ns) / SECOND_NS)

    def note_stored(self, row_ns: int, stored_ns: int) -> None:
        """The online store holds the rows of a time, of all symbols."""
        self.rows.note_stored(row_ns, stored_ns)
        self.observe("online", (stored_ns - row_ns) / SECOND_NS)

    def document(self) -> dict[str, dict[str, float | int | None]]:
        """Count and percentiles in ms by stage, of the latest times; None before the first."""
        return {stage: times.percentiles() for stage, times in self._stages.items()}


class _Times:
    """The times of one stage."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        """By bucket, the last one without a bound."""
        self.sum_s = 0.0
        self._latest: deque[float] = deque(maxlen=SAMPLES)

    def add(self, seconds: Sequence[float]) -> None:
        for each in seconds:
            self.counts[bisect_left(_BUCKETS, each)] += 1
        self.sum_s += sum(seconds)
        self._latest.extend(seconds)

    def percentiles(self) -> dict[str, float | int | None]:
        latest = sorted(self._latest.copy())
        found: dict[str, float | int | None] = {"count": sum(self.counts)}
        for percent in (50, 95, 99):
            at = math.ceil(len(latest) * percent / 100) - 1
            found[f"p{percent}_ms"] = round(latest[at] * 1e3, 3) if latest else None
        return found


class StatusCollector(Collector):
    """The worker's status document as metrics, read when they are asked for: the hot path counts nothing twice."""

    _COUNTERS: Final = {
        "messages": "Messages taken.",
        "rejected": "Messages that could not be used.",
        "rows": "Rows at whole seconds closed.",
        "gaps": "Times the order book was lost.",
        "late": "Messages raised to a closed boundary.",
        "duplicates": "Order book messages that were applied before.",
        "redelivered": "Messages, or trades of a message, that were already on the tape.",
        "ignored": "Order book messages of another stream than the selected one.",
        "lost": "Marks on the tape of messages that were missed or could not be used.",
    }

    def __init__(self, status: Callable[[], dict[str, Any]], *, now_ns: Callable[[], int]) -> None:
        self._status = status
        self._now_ns = now_ns

    def collect(self) -> Iterable[Metric]:
        status = self._status()
        symbols: dict[str, dict[str, Any]] = status["symbols"]
        for name, text in self._COUNTERS.items():
            counter = CounterMetricFamily(f"feature_service_{name}", text, labels=["symbol"])
            for symbol, each in symbols.items():
                counter.add_metric([symbol], each[name])
            yield counter
        by_error = CounterMetricFamily(
            "feature_service_rejected_by_error_total",
            "Messages that could not be used, by error.",
            labels=["symbol", "error"],
        )
        rejected: dict[str, dict[str, int]] = status["rejected_by_error"]
        for symbol, counts in rejected.items():
            for error, count in counts.items():
                by_error.add_metric([symbol, error], count)
        yield by_error
        age = GaugeMetricFamily("feature_service_age_seconds", "Time since a symbol's last message.", labels=["symbol"])
        lag = GaugeMetricFamily("feature_service_lag_seconds", "How late a symbol's rows close.", labels=["symbol"])
        for symbol, each in symbols.items():
            if each["last_recv_ns"] is not None:
                age.add_metric([symbol], (self._now_ns() - each["last_recv_ns"]) / 1e9)
            lag.add_metric([symbol], each["lag_ms"] / 1e3)
        yield age
        yield lag
        for name, value in status["worker"].items():
            if name.endswith("_total"):
                counter = CounterMetricFamily(f"feature_service_worker_{name}", f"{name} of the worker.")
                counter.add_metric([], value)
                yield counter
            elif isinstance(value, int | float):
                gauge = GaugeMetricFamily(f"feature_service_worker_{name}", f"{name} of the worker.")
                gauge.add_metric([], value)
                yield gauge
