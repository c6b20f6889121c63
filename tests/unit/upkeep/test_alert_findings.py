"""Each rule finds what it is for, names it, and finds nothing on a good day."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from market.clock import DAY_NS, SECOND_NS, to_datetime
from market.errors import NotFound
from storage.database.freshness import WindowLooks
from storage.database.ingest_workers import IngestWorker
from storage.database.minute_quality import StoredEvent
from storage.database.upkeep import UpkeepState
from storage.online.vector import OnlineVector
from transforms.status import GAP, NO_DATA, OK, STALE
from upkeep.alert_findings import (
    Thresholds,
    dead_letter_findings,
    freshness_findings,
    quality_findings,
    queue_findings,
    row_findings,
    table_findings,
    upkeep_findings,
    worker_findings,
)
from upkeep.alert_rules import Finding
from upkeep.drift import look_at_drift

NOW_NS = 1_780_000_000 * SECOND_NS
NOW = to_datetime(NOW_NS)
LIMITS = Thresholds(
    row_age_s=30,
    silent_s=60,
    burn_1h=14.4,
    burn_6h=6.0,
    queue_messages=100,
    dead_letters=3,
    unknown_share=0.5,
    late_rate=0.05,
    duplicate_rate=0.05,
    disk_warn_percent=85,
    disk_critical_percent=95,
)


def told(findings: list[Finding]) -> list[tuple[str, str, str | None]]:
    return [(each.rule, each.subject, each.severity) for each in findings]


def looks(window: str, lost_minutes: float, *, view: str = "price", tier: int = 1) -> WindowLooks:
    return WindowLooks(view=view, tier=tier, looks=100, fresh=90, covered=80, window=window, lost_minutes=lost_minutes)


def test_a_budget_that_burns_too_fast_is_found_once_a_view_and_tier() -> None:
    assert freshness_findings([looks("1h", 8.6), looks("6h", 21.5), looks("30d", 432.0)], LIMITS) == []
    found = freshness_findings([looks("1h", 8.7), looks("6h", 21.7), looks("6h", 22.0, tier=2)], LIMITS)
    assert told(found) == [
        ("freshness_burn", "price tier 1", "critical"),
        ("freshness_burn", "price tier 2", "warning"),
    ]
    assert found[0].summary.startswith("price: error budget must burn at less than 14.4 over 1h, was 14.5: 80.00%")


def test_positions_that_nobody_has_burn_nothing() -> None:
    assert freshness_findings([looks("1h", 60.0, view="position")], LIMITS) == []


def vector(symbol: str, age_s: int, **statuses: int) -> OnlineVector:
    return OnlineVector(symbol, NOW_NS - age_s * SECOND_NS, NOW_NS, "2.0.0", "f", (), np.empty(0), statuses, {})


def test_old_rows_broken_books_and_stale_sources_are_told_apart() -> None:
    vectors = {
        "A": vector("A", 30, price=OK, position=NO_DATA),
        "B": vector("B", 31, price=GAP),
        "C": vector("C", 1, price=GAP, orderbook=GAP, orderflow=GAP, perpetual=STALE),
        "D": None,
        "E": vector("E", 1, orderbook=OK, orderflow=GAP),
    }
    found = row_findings(vectors, {"A": 1, "B": 1, "C": 2, "D": 1, "E": 1}, NOW_NS, LIMITS)
    assert told(found) == [
        ("row_old", "B", "critical"),
        ("book_gap", "C", "warning"),
        ("source_stale", "C perpetual", None),
    ]
    assert found[1].summary.endswith("no values in orderbook, price")


def began(seconds: float, *, heartbeat_s: float = 1, **status: Any) -> IngestWorker:  # noqa: ANN401  # any JSON
    return IngestWorker("w", NOW - timedelta(seconds=seconds), NOW - timedelta(seconds=heartbeat_s), status)


STARTS: dict[str, Any] = {"starts": ["A"]}


@pytest.mark.parametrize(
    ("workers", "is_old"),
    [
        ([], True),
        ([began(101)], True),
        # One that compiles has as long as that may take, one that runs as long as a row may be old.
        ([began(90, **STARTS)], False),
        ([began(29)], False),
        ([began(31)], True),
        ([began(90, heartbeat_s=20, **STARTS)], True),
        # One that is started again and again has no row either.
        ([began(90, heartbeat_s=60), began(5)], True),
        ([began(90, heartbeat_s=60, **STARTS), began(5, **STARTS)], False),
    ],
)
def test_a_row_from_before_a_start_is_not_old_before_that_can_have_made_one(
    workers: list[IngestWorker], *, is_old: bool
) -> None:
    found = row_findings({"A": vector("A", 100, price=OK)}, {"A": 1}, NOW_NS, LIMITS, workers=workers)
    assert told(found) == ([("row_old", "A", "critical")] if is_old else [])


def test_a_start_that_takes_longer_than_a_kernel_does_is_none_any_more() -> None:
    age_s = 660
    for workers in ([began(601, **STARTS)], [began(601, heartbeat_s=300, **STARTS), began(5, **STARTS)]):
        found = row_findings({"A": vector("A", age_s, price=OK)}, {"A": 1}, NOW_NS, LIMITS, workers=workers)
        assert told(found) == [("row_old", "A", "critical")]
    assert found_of(began(599, starts=["A", "B"])) == []
    assert [subject for _, subject, _ in found_of(began(601, starts=["A", "B"]))] == ["A", "B"]


def worker(heartbeat_s: int, **last_recv_s: int | None) -> IngestWorker:
    symbols: dict[str, Any] = {
        symbol: {"last_recv_ns": None if age is None else NOW_NS - age * SECOND_NS}
        for symbol, age in last_recv_s.items()
    }
    return IngestWorker("w", NOW - timedelta(hours=1), NOW - timedelta(seconds=heartbeat_s), {"symbols": symbols})


def found_of(*workers: IngestWorker) -> list[tuple[str, str, str | None]]:
    return told(worker_findings(workers, ["A", "B"], NOW, NOW_NS, LIMITS))


@pytest.mark.parametrize(("rows", "mean_ms", "is_slow"), [(99, 200.0, False), (100, 200.0, True), (100, 60.0, False)])
def test_slow_rows_are_found_once_there_are_enough_of_them(rows: int, mean_ms: float, is_slow: bool) -> None:  # noqa: FBT001  # a parameter
    calm = worker(1, A=1, B=1)
    slow = replace(calm, status={**calm.status, "computations_last_5min": {"count": rows, "mean_ms": mean_ms}})
    assert found_of(slow) == ([("rows_slow", "w", None)] if is_slow else [])


@pytest.mark.parametrize(("is_away", "found"), [(0.0, []), (1.0, [("feature_log_away", "w", None)])])
def test_a_feature_log_that_cannot_be_written_is_found(
    is_away: float, found: list[tuple[str, str, str | None]]
) -> None:
    calm = worker(1, A=1, B=1)
    assert found_of(replace(calm, status={**calm.status, "worker": {"log_is_away": is_away}})) == found


def test_workers_that_are_gone_and_symbols_that_nobody_hears_are_found() -> None:
    assert found_of() == []
    assert found_of(worker(1, A=1, B=60)) == []
    assert found_of(worker(16, A=1, B=1)) == [("ingest_silent", "ingest", None)]
    assert found_of(worker(1, A=61), worker(99, B=1)) == [
        ("symbol_silent", "A", None),
        ("symbol_not_followed", "B", None),
    ]
    # One that took the symbol over has heard it; of one that only just began nothing is known.
    assert found_of(worker(1, A=61, B=None), worker(2, A=1)) == []


def test_late_tasks_and_full_disks_are_found() -> None:
    disk = UpkeepState(
        task="disk",
        period=timedelta(seconds=30),
        registered_at=NOW - timedelta(hours=1),
        now=NOW,
        succeeded_at=NOW - timedelta(seconds=60),
        result={
            "disks": [
                {"folders": ["raw", "features"], "used_percent": 84.9},
                {"folders": ["datasets"], "used_percent": 85.0},
                {"folders": ["cache"], "used_percent": 95.0},
            ]
        },
    )
    assert told(upkeep_findings([disk], LIMITS)) == [
        ("disk_filling", "datasets", "warning"),
        ("disk_filling", "cache", "critical"),
    ]
    late = replace(disk, result=None, succeeded_at=NOW - timedelta(seconds=61), error="disk: no answer")
    (found,) = upkeep_findings([late], LIMITS)
    assert (found.rule, found.subject) == ("upkeep_late", "disk")
    assert found.summary == "disk: must succeed every 30 s, last did 61 s ago, since disk: no answer"


def test_queues_and_dead_letters_are_found_at_their_threshold() -> None:
    found = queue_findings({"a": (99, 0), "b": (100, 1)}, LIMITS)
    assert [each.summary for each in found] == ["b: must hold fewer than 100 messages, was 100 with 1 readers"]
    assert dead_letter_findings(["x", "y"], 10, LIMITS) == []
    (dead,) = dead_letter_findings(["x", "y", "z"], 10, LIMITS)
    assert dead.summary.endswith("was 3, the last: z")


def event(stream: str, what: str, severity: str, *, lasts: bool = True) -> StoredEvent:
    end_at = None if lasts else NOW
    return StoredEvent(
        symbol="A",
        stream=stream,
        what=what,
        severity=severity,
        begin_at=NOW - timedelta(minutes=2),
        end_at=end_at,
        detail="no message arrived",
    )


def test_what_is_wrong_with_a_stream_is_told_once_by_its_gravest_event() -> None:
    events = [
        event("orderbook", "gap", "info", lasts=False),
        event("ticker", "silence", "warning"),
        event("orderbook", "gap", "warning", lasts=False),
        event("orderbook", "gap", "critical"),
    ]
    found = quality_findings(events, ["A"])
    assert told(found) == [
        ("data_quality", "A orderbook gap", "critical"),
        ("data_quality", "A ticker silence", "warning"),
    ]
    assert found[1].summary == "A ticker silence: no message arrived, from 2026-05-28 20:24:40 UTC and lasts"
    assert quality_findings(events, ["B"]) == []


def test_a_symbol_that_is_wholly_silent_is_told_by_its_own_rule() -> None:
    streams = ("orderbook", "trade", "ticker")
    assert quality_findings([event(stream, "silence", "warning") for stream in streams], ["A"]) == []


def test_columns_that_drifted_from_a_watched_dataset_are_one_warning_each_dataset_and_symbol() -> None:
    def compare(dataset_id: str) -> dict[str, Any]:
        if dataset_id == "gone":
            raise NotFound("dataset: must exist, was 'gone'")
        columns: dict[str, Any] = {name: {} for name in ("a", "b", "c")}
        symbols = {"BTCUSDT": {"drifted": ["b", "a"], "columns": columns}, "ETHUSDT": {"drifted": [], "columns": {}}}
        return {"symbols": symbols}

    result = look_at_drift(["d", "gone"], compare, lambda _share: None)
    assert result["problems"] == [
        "drift from dataset gone: could not be checked: dataset: must exist, was 'gone'",
    ]
    state = UpkeepState(
        task="drift", period=timedelta(hours=1), registered_at=NOW, now=NOW, succeeded_at=NOW, result=result
    )
    (found,) = upkeep_findings([state], LIMITS)
    assert (found.rule, found.subject) == ("feature_drift", "BTCUSDT from dataset d")
    assert found.summary == "BTCUSDT from dataset d: no column may drift, 2 of 3 did, most of all b, a"


def test_a_table_that_stopped_growing_is_told_of_a_day_before_its_views_have_no_answer() -> None:
    newest = {"daily_bars": (0, 7 * DAY_NS)}
    assert table_findings(newest, 6 * DAY_NS) == []
    [finding] = table_findings(newest, 6 * DAY_NS + DAY_NS // 2)
    assert (finding.rule, finding.subject) == ("table_stopped", "daily_bars")
    assert finding.summary == "daily_bars: newest row must have been known within 6 days, was 6.5 days ago"
