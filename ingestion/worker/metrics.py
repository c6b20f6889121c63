"""What the ingest worker measures: Prometheus metrics, and the latest percentiles for its status.

Stages: ``transit`` from the receive time to the worker, ``handle`` a message from bytes to the engine, ``close`` from a
row's time to its closing (the grace included), ``online`` from a row's time until Redis holds it, ``fresh`` the same
from the stamp of the newest message in the row.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ingestion.worker.row_traces import RowTraces
from market.clock import SECOND_NS

STAGES: Final = ("transit", "handle", "close", "online", "fresh")
SAMPLES: Final = 2_000
"""The latest times of each stage that its percentiles are of."""
_BUCKETS: Final = (0.00005, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)


class StageTimes:
    """How long each stage takes; each stage is measured by one thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram = Histogram(
            "feature_service_stage_seconds",
            "Time of each stage from a message to a served row.",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._histograms = {stage: histogram.labels(stage) for stage in STAGES}
        self._latest: dict[str, deque[float]] = {stage: deque(maxlen=SAMPLES) for stage in STAGES}
        self._counts = dict.fromkeys(STAGES, 0)
        self.rows = RowTraces(registry)

    def observe(self, stage: str, seconds: float) -> None:
        """One more time of a stage."""
        self._histograms[stage].observe(seconds)
        self._latest[stage].append(seconds)
        self._counts[stage] += 1

    def note_closed(self, row_ns: int, closed_ns: int) -> None:
        """The rows of a time, of all symbols, were closed and handed on."""
        self.rows.note_closed(row_ns, closed_ns)
        self.observe("close", (closed_ns - row_ns) / SECOND_NS)

    def document(self) -> dict[str, dict[str, float | int | None]]:
        """Count and percentiles in ms by stage, of the latest times; None before the first."""
        return {stage: self._percentiles(stage) for stage in STAGES}

    def _percentiles(self, stage: str) -> dict[str, float | int | None]:
        latest = sorted(self._latest[stage].copy())
        found: dict[str, float | int | None] = {"count": self._counts[stage]}
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
            "feature_service_rejected_by_error",
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
