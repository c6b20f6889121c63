"""The worker's status document: what it says of itself in PostgreSQL and as metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingestion.pipeline.lane import Lane
from ingestion.pipeline.pipeline import Pipeline
from ingestion.worker.worker import Worker
from market.clock import MILLISECOND_NS


def worker_status(
    worker: Worker,
    pipeline: Pipeline,
    *,
    subscriptions: Callable[[], Sequence[Mapping[str, Any]]] = lambda: (),
    figures: Callable[[], Mapping[str, float]] = dict,
) -> dict[str, Any]:
    """A JSON document of what the worker says of itself.

    ``symbols`` by name, ``rejected_by_error`` by symbol, ``subscriptions``, ``stages``, ``row_traces``, and ``worker``,
    figures of the whole.

    A time that is not known yet is null. Counts are since the worker began. figures: of what it writes to.
    """
    lag_ms = round(worker.lag_ns / MILLISECOND_NS, 3)
    counters = pipeline.counters
    return {
        "symbols": {
            symbol: {**symbol_status(pipeline, symbol, lane), "lag_ms": lag_ms}
            for symbol, lane in list(pipeline.lanes.items())
        },
        "rejected_by_error": pipeline.rejected_by_error,
        "subscriptions": [dict(each) for each in subscriptions()],
        "stages": worker.stages.document(),
        "row_traces": worker.stages.rows.document(),
        "worker": {
            "lag_ms": lag_ms,
            "waiting": worker.waiting,
            "messages_total": counters.messages,
            "rejected_total": counters.rejected,
            "foreign_total": counters.foreign,
            "decoded_compiled_total": pipeline.decoders.compiled,
            "decoded_typed_total": pipeline.decoders.typed,
            "taken_in_runs_total": counters.in_runs,
            "rows_total": counters.rows,
            "tick_rows_total": counters.tick_rows,
            "skipped_ticks_total": worker.skipped_ticks,
            "row_grid_ms": worker.grid_ns / MILLISECOND_NS,
            "snapshots_asked_total": worker.snapshots_asked,
            **figures(),
        },
    }


def symbol_status(pipeline: Pipeline, symbol: str, lane: Lane) -> dict[str, Any]:
    """What is said of one symbol, but for the worker's lag."""
    return {
        "last_recv_ns": lane.last_recv_ns,
        "last_row_ns": lane.closed.last_row_ns,
        "status": lane.closed.statuses,
        "messages": lane.messages,
        "rows": lane.closed.seconds,
        "gaps": lane.losses.gaps,
        "crossed_ns": lane.losses.crossed_ns,
        "rejected": pipeline.rejected_of(symbol),
        "late": lane.arrivals.late,
        "duplicates": lane.losses.duplicates,
        "redelivered": lane.arrivals.repeated,
        "ignored": lane.ignored,
        "lost": lane.lost,
        "held": _held(lane),
    }


def _held(lane: Lane) -> dict[str, Any]:
    """Trades by the seconds of a window, candles, and an estimate of the bytes."""
    held = lane.engine.held
    return {"trades": held.trades, "candles": held.candles, "memory_bytes": held.memory_bytes}
