"""Metrics: one family a name, in Prometheus' text, and percentiles of the latest times."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingestion.worker.metrics import SAMPLES, STAGES, StageTimes, StatusCollector
from market.clock import SECOND_NS

NOW_NS = 1_772_000_000 * SECOND_NS


def status() -> dict[str, Any]:
    counts = {"messages": 7, "rows": 3, "gaps": 1, "rejected": 2, "late": 4, "duplicates": 5, "redelivered": 6}
    counts |= {"ignored": 8, "lost": 9}
    known = {**counts, "last_recv_ns": NOW_NS - 2 * SECOND_NS, "last_row_ns": NOW_NS, "status": {}, "lag_ms": 12.0}
    return {
        "symbols": {"BTCUSDT": known, "ETHUSDT": {**known, "last_recv_ns": None}},
        "rejected_by_error": {"BTCUSDT": {"ScaleExceeded": 2}, "": {"MalformedMessage": 1}},
        "worker": {"messages_total": 14, "rows_total": 6, "lag_ms": 12.0, "waiting": 0},
    }


def test_every_figure_of_the_status_is_one_metric() -> None:
    registry = CollectorRegistry()
    StageTimes(registry).observe("handle", 0.002)
    registry.register(StatusCollector(status, now_ns=lambda: NOW_NS))
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert max(Counter(family.name for family in families).values()) == 1
    samples = {(sample.name, sample.labels.get("symbol")): sample.value for each in families for sample in each.samples}
    assert samples["feature_service_messages_total", "BTCUSDT"] == 7
    assert samples["feature_service_late_total", "ETHUSDT"] == 4
    assert samples["feature_service_ignored_total", "BTCUSDT"] == 8
    assert samples["feature_service_lost_total", "BTCUSDT"] == 9
    assert samples["feature_service_worker_messages_total", None] == 14
    assert samples["feature_service_rejected_by_error_total", "BTCUSDT"] == 2
    assert samples["feature_service_rejected_by_error_total", ""] == 1
    assert samples["feature_service_age_seconds", "BTCUSDT"] == 2
    assert ("feature_service_age_seconds", "ETHUSDT") not in samples
    assert samples["feature_service_lag_seconds", "BTCUSDT"] == 0.012


def test_a_stage_tells_its_count_and_the_percentiles_of_its_latest_times() -> None:
    stages = StageTimes(CollectorRegistry())
    for number in range(SAMPLES + 100):
        stages.observe("close", 9.0 if number < 100 else (number - 99) / 1e6)
    assert stages.document()["close"] == {"count": SAMPLES + 100, "p50_ms": 1.0, "p95_ms": 1.9, "p99_ms": 1.98}


def test_a_stage_that_was_never_measured_has_no_percentiles() -> None:
    document = StageTimes(CollectorRegistry()).document()
    assert set(document) == set(STAGES)
    assert document["online"] == {"count": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}
