"""Health answers whatever the stores do."""

from __future__ import annotations

from pathlib import Path

import pytest

from api import checks
from api.health import named
from market.errors import StoreUnavailable
from tests.health_stores import NOW, Away, Broken, Datasets, Empty, Hanging, Kept, NoWorkers, Served, ask
from transforms.status import GAP, NO_DATA, OK, STALE, WARMUP


def test_everything_there_is_ok(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert (document["status"], document["timestamp"]) == ("ok", NOW)
    assert document["services"]["database"] == document["services"]["online_store"] == document["services"]["tape"]
    assert document["services"]["database"] == "ok"
    assert document["database_connected"] is True
    assert document["feature_registry_loaded"] is True
    assert document["active_dataset_builds_count"] == 1
    assert document["last_dataset_build_duration_seconds"] == 90
    assert document["latest_feature_computation_timestamp"] is None


def test_the_latency_is_that_of_computing_rows_over_all_workers_that_live(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert document["average_latency_ms_last_5min"] == pytest.approx(25)
    without = ask(tmp_path, online=Empty(), metadata=NoWorkers())
    assert without["average_latency_ms_last_5min"] is None
    assert without["reasons"]["average_latency_ms_last_5min"] == "no row was stored in the last 5 minutes"
    assert without["status"] == "ok"


def test_a_store_that_is_away_degrades_and_the_rest_still_comes(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Away(), metadata=Datasets())
    assert document["status"] == "degraded"
    assert document["services"]["online_store"] == "unavailable"
    assert document["reasons"]["online_store"] == "redis x:1: call failed"
    assert document["reasons"]["latest_feature_computation_timestamp"] == "redis x:1: call failed"
    assert document["active_dataset_builds_count"] == 1


def test_an_unexpected_failure_degrades_and_does_not_tell_its_inside(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Broken(), metadata=Datasets())
    assert document["reasons"]["online_store"] == "online_store: the check failed with ValueError"
    assert document["status"] == "degraded"


def test_a_store_that_hangs_does_not_hang_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEADLINE_S", 0.2)
    hanging = Hanging()
    try:
        document = ask(tmp_path, online=hanging, metadata=Datasets())
    finally:
        hanging.release.set()
    assert document["services"]["online_store"] == "unavailable"
    assert document["reasons"]["online_store"] == "online_store: no response within 0.2 s"
    assert document["services"]["database"] == "ok"


def test_an_empty_registry_is_told(tmp_path: Path) -> None:
    assert (
        ask(tmp_path, online=Empty(), metadata=Datasets(), versions_folder=tmp_path)["feature_registry_loaded"] is False
    )


def test_quality_is_ok_while_rows_are_fresh_and_unbroken(tmp_path: Path) -> None:
    online = Served({"BTCUSDT": {"price": OK, "position": NO_DATA}, "ETHUSDT": {"price": WARMUP}})
    document = ask(tmp_path, online=online, metadata=Datasets())
    assert document["data_quality_ok"] is True
    assert document["latest_feature_computation_timestamp"] == "2026-01-05T11:59:59.012000Z"
    assert "data_quality_ok" not in document["reasons"]


def test_a_gap_a_silent_source_and_an_old_row_are_no_quality_and_are_named(tmp_path: Path) -> None:
    broken = Served({"BTCUSDT": {"orderbook": GAP, "price": OK}, "ETHUSDT": {"orderflow": STALE}})
    document = ask(tmp_path, online=broken, metadata=Datasets())
    assert document["data_quality_ok"] is False
    assert document["reasons"]["data_quality_ok"] == (
        "BTCUSDT orderbook: must not be GAP, STALE nor QUARANTINED, was GAP; "
        "ETHUSDT orderflow: must not be GAP, STALE nor QUARANTINED, was STALE"
    )
    old = ask(tmp_path, online=Served({"BTCUSDT": {"price": OK}}, age_s=31), metadata=Datasets())
    assert old["data_quality_ok"] is False
    assert old["reasons"]["data_quality_ok"] == "BTCUSDT: newest row must be at most 30 s old, was 31"


def test_a_broker_that_is_used_is_asked_and_one_that_is_not_is_not(tmp_path: Path) -> None:
    def away() -> None:
        raise StoreUnavailable("rabbitmq x:1: cannot connect")

    unused = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert (unused["queue_connected"], unused["services"]["message_queue"]) == (None, "not_used")
    there = ask(tmp_path, online=Empty(), metadata=Datasets(), check_queue=lambda: None)
    assert (there["queue_connected"], there["services"]["message_queue"], there["status"]) == (True, "ok", "ok")
    gone = ask(tmp_path, online=Empty(), metadata=Datasets(), check_queue=away)
    assert (gone["queue_connected"], gone["services"]["message_queue"]) == (False, "unavailable")
    assert gone["status"] == "degraded"
    assert gone["reasons"]["queue_connected"] == "rabbitmq x:1: cannot connect"


def test_upkeep_that_is_older_than_twice_its_period_degrades_and_says_why(tmp_path: Path) -> None:
    in_time = ask(tmp_path, online=Empty(), metadata=Datasets(), upkeep=Kept(120))
    assert (in_time["status"], in_time["services"]["upkeep"]) == ("ok", "ok")
    assert "upkeep" not in in_time["reasons"]
    late = ask(tmp_path, online=Empty(), metadata=Datasets(), upkeep=Kept(121, error="disk x: must be writable"))
    assert (late["status"], late["services"]["upkeep"]) == ("degraded", "late")
    assert late["reasons"]["upkeep"] == (
        "compaction: last success must be at most 120 s ago, was 121 s, since disk x: must be writable"
    )


def test_upkeep_of_which_nothing_is_known_is_told_as_such(tmp_path: Path) -> None:
    document = ask(tmp_path, online=Empty(), metadata=Datasets())
    assert document["services"]["upkeep"] == "unknown"
    assert document["reasons"]["upkeep"] == "no process of the service has registered upkeep tasks yet"


def test_the_troubles_of_many_symbols_are_the_first_few_and_how_many_more() -> None:
    assert named(["A", "B"]) == "A, B"
    assert named([f"S{at}" for at in range(500)]) == "S0, S1, S2, S3, S4 and 495 more"
