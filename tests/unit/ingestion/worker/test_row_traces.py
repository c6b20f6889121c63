"""Traces of rows: each names its slowest step, whichever thread is told last, and memory is bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from ingestion.worker.row_traces import KEPT, SHOWN, RowTraces
from market.clock import MILLISECOND_NS, SECOND_NS, format_iso

ROW_NS = 1_772_000_000 * SECOND_NS


def traced(traces: RowTraces, number: int, begun_ms: int, closed_ms: int, stored_ms: int, *, stored_first: bool) -> int:
    row_ns = ROW_NS + number * SECOND_NS
    traces.note_begun(row_ns, row_ns + begun_ms * MILLISECOND_NS)
    for is_store in (stored_first, not stored_first):
        if is_store:
            traces.note_stored(row_ns, row_ns + stored_ms * MILLISECOND_NS)
        else:
            traces.note_closed(row_ns, row_ns + closed_ms * MILLISECOND_NS)
    return row_ns


def test_a_row_names_its_slowest_step_and_the_slowest_row_comes_first() -> None:
    registry = CollectorRegistry()
    traces = RowTraces(registry)
    traced(traces, 0, 10, 12, 15, stored_first=False)
    traced(traces, 1, 10, 40, 45, stored_first=False)
    traced(traces, 2, 10, 50, 40, stored_first=True)  # the last sink had it after Redis
    slowest = traced(traces, 3, 10, 20, 90, stored_first=False)
    document = traces.document()
    assert document["count"] == 4
    assert document["slowest"] == {"wait": 1, "compute": 2, "store": 1}
    assert document["rows"][0] == {
        "row_time": format_iso(slowest),
        "total_ms": 90.0,
        "wait_ms": 10.0,
        "compute_ms": 10.0,
        "store_ms": 70.0,
        "slowest": "store",
    }
    assert [row["total_ms"] for row in document["rows"]] == [90.0, 45.0, 40.0, 15.0]
    assert document["rows"][2]["store_ms"] == 0.0
    assert registry.get_sample_value("feature_service_row_slowest_step_total", {"step": "compute"}) == 2


def test_rows_that_are_never_stored_have_no_trace_and_the_latest_are_kept() -> None:
    traces = RowTraces(CollectorRegistry())
    for number in range(300):
        traces.note_begun(ROW_NS + number, ROW_NS + number)
        traces.note_closed(ROW_NS + number, ROW_NS + number + 1)
    traces.note_stored(ROW_NS + 1_000, ROW_NS)  # of no row that was begun here
    assert traces.document()["count"] == 0
    assert len(traces._under_way) == 100
    for number in range(KEPT + 5):
        traced(traces, number, 1, 2, 3, stored_first=False)
    assert traces.document()["count"] == KEPT
    assert len(traces.document()["rows"]) == SHOWN
