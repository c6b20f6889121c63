"""Build requests: what is understood, what is malformed, and what is not offered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api.schemas import BuildRequest, period_request
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from training_sets.labels import RegressionTarget
from training_sets.request import DatasetRequest
from training_sets.splits import Period


def asked(**changes: object) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "train_period_start": "2026-01-05T12:00:00Z",
        "train_period_end": "2026-01-05T13:00:00",
        "validation_period_start": "2026-01-05T14:00:00+01:00",
        "validation_period_end": "2026-01-05T13:30:00Z",
        "test_period_start": "2026-01-05T13:30:00Z",
        "test_period_end": "2026-01-05T14:00:00Z",
        "target_config": {"type": "regression", "horizon": "1m"},
        **changes,
    }


def build(**changes: object) -> DatasetRequest:
    return BuildRequest.model_validate(asked(**changes)).to_request("1.0.0")


def at(text: str) -> int:
    return parse_iso_ns(f"2026-01-05T{text}")


def test_a_request_says_everything_that_the_builder_needs() -> None:
    target = {"horizon": 30, "decision_delay": "2s"}
    assert build(target_config=target, sample_interval="15s", purge=False, embargo="1m") == DatasetRequest(
        symbols=("BTCUSDT",),
        periods=(
            Period("train", at("12:00:00"), at("13:00:00")),
            Period("validation", at("13:00:00"), at("13:30:00")),
            Period("test", at("13:30:00"), at("14:00:00")),
        ),
        target=RegressionTarget(30 * SECOND_NS, 2 * SECOND_NS),
        registry_version="1.0.0",
        sample_interval_ns=15 * SECOND_NS,
        purge=False,
        embargo_ns=MINUTE_NS,
    )


def test_defaults_are_every_second_purged_without_embargo_on_the_newest_version() -> None:
    request = build()
    assert (request.sample_interval_ns, request.purge, request.embargo_ns) == (SECOND_NS, True, 0)
    assert request.target == RegressionTarget(MINUTE_NS)
    assert request.registry_version == "1.0.0"
    assert build(feature_registry_version="0.9.0").registry_version == "0.9.0"


def test_symbols_may_be_several_and_a_single_target_may_stand_in_a_list() -> None:
    request = build(symbol=None, symbols=["BTCUSDT", "ETHUSDT"], target_config=[{"horizon": "1m"}], embargo="0s")
    assert request.symbols == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"target_config": {"horizon": "1m", "unknown": 1}},
        {"target_config": {"horizon": "soon"}},
        {"target_config": {"horizon": -1}},
        {"target_config": {"horizon": True}},
        {"target_config": {"horizon": 1.5}},
        {"target_config": {"horizon": 10**12}},
        {"target_config": []},
        {"target_config": {}},
        {"train_period_start": "yesterday"},
        {"train_period_start": 1_767_614_400},
        {"train_period_start": "2300-01-01"},
        {"sample_interval": "2s"},
        {"symbols": ["ETHUSDT"]},
        {"symbol": None},
        {"symbol": ""},
        {"symbol": None, "symbols": []},
    ],
    ids=str,
)
def test_a_malformed_request_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BuildRequest.model_validate(asked(**changes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"split_strategy": "walk_forward"}, "split_strategy: must be time_based, was 'walk_forward'"),
        ({"walk_forward_config": {"step_days": 1}}, "walk_forward_config: must be left out"),
        ({"target_config": {"type": "classification", "horizon": 60}}, "must be regression, was 'classification'"),
        ({"target_config": {"horizon": 60, "threshold": 0.1}}, "threshold: must be left out, was 0.1"),
        ({"target_config": [{"horizon": 60}, {"horizon": 30}]}, "number of targets: must be 1, was 2"),
        ({"output_format": "csv"}, "output_format: must be parquet, was 'csv'"),
        ({"missing": "drop"}, "missing: must be keep, was 'drop'"),
        ({"data_leakage_check": False}, "data_leakage_check: must be True, was False"),
        ({"test_period_end": None}, "test_period_start, test_period_end: must be given"),
        ({"train_period_end": "2026-01-05T13:10:00Z"}, "validation period: must not start before"),
        ({"target_config": {"horizon": "2h"}}, "target: must look less far ahead"),
    ],
    ids=str,
)
def test_what_is_not_offered_is_refused_with_what_is(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        build(**changes)
    assert rule in str(refused.value)


def test_the_query_form_splits_by_time_and_looks_a_minute_ahead() -> None:
    request = period_request("BTCUSDT", at("12:00:00"), at("13:40:00"), "1.0.0")
    assert [(period.start_ns, period.end_ns) for period in request.periods] == [
        (at("12:00:00"), at("13:10:00")),
        (at("13:10:00"), at("13:25:00")),
        (at("13:25:00"), at("13:40:00")),
    ]
    assert request.target == RegressionTarget(MINUTE_NS)
