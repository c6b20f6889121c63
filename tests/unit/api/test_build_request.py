"""Build requests: what is understood, what is malformed, and what is not offered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api.build_request import BuildRequest, period_request
from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from training_sets.request.folds import Period, PurgedCombinations, RandomBlocks, TimeBased, WalkForward
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    TripleBarrierTarget,
)

WALK = {
    "train_window_days": 2,
    "validation_window_days": 1,
    "step_days": 1,
    "start_date": "2026-01-01",
    "end_date": "2026-01-08",
    "min_train_samples": 10,
}


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
        strategy=TimeBased(
            (
                Period("train", at("12:00:00"), at("13:00:00")),
                Period("validation", at("13:00:00"), at("13:30:00")),
                Period("test", at("13:30:00"), at("14:00:00")),
            )
        ),
        targets=(RegressionTarget(30 * SECOND_NS, 2 * SECOND_NS),),
        registry_version="1.0.0",
        sample_interval_ns=15 * SECOND_NS,
        purge=False,
        embargo_ns=MINUTE_NS,
    )


def test_defaults_are_every_second_purged_without_embargo_on_the_newest_version() -> None:
    request = build()
    assert (request.sample_interval_ns, request.purge, request.embargo_ns) == (SECOND_NS, True, 0)
    assert request.targets == (RegressionTarget(MINUTE_NS),)
    assert request.registry_version == "1.0.0"
    assert build(feature_registry_version="0.9.0").registry_version == "0.9.0"


def test_symbols_may_be_several_and_a_single_target_may_stand_in_a_list() -> None:
    request = build(symbol=None, symbols=["BTCUSDT", "ETHUSDT"], target_config=[{"horizon": "1m"}], embargo="0s")
    assert request.symbols == ("BTCUSDT", "ETHUSDT")


def test_each_strategy_is_told_by_its_configuration() -> None:
    day = parse_iso_ns("2026-01-01")
    assert build(split_strategy="walk_forward", walk_forward_config=WALK).strategy == WalkForward(
        day, day + 7 * DAY_NS, 2 * DAY_NS, DAY_NS, DAY_NS, min_train_samples=10
    )
    expanding = {**WALK, "window": "expanding", "test_window_days": 1}
    assert build(split_strategy="walk_forward", walk_forward_config=expanding).strategy == WalkForward(
        day, day + 7 * DAY_NS, 2 * DAY_NS, DAY_NS, DAY_NS, DAY_NS, is_expanding=True, min_train_samples=10
    )
    dates = {"start_date": "2026-01-01", "end_date": "2026-01-08"}
    assert build(split_strategy="cpcv", cpcv_config={**dates, "groups": 5}).strategy == PurgedCombinations(
        day, day + 7 * DAY_NS, 5, 2
    )
    assert build(split_strategy="random", random_config={**dates, "block": "1h", "seed": 3}).strategy == RandomBlocks(
        day, day + 7 * DAY_NS, 60 * MINUTE_NS, 3
    )


def test_each_target_is_told_by_its_type_and_named_by_itself_or_after_it() -> None:
    request = build(
        target_config=[
            {"horizon": 60},
            {"type": "classification", "horizon": 60, "threshold": 0.002},
            {"type": "risk_adjusted", "horizon": 30, "volatility_window": "1m", "name": "sharpe"},
            {"type": "triple_barrier", "horizon": 30, "upper": 2, "lower": 1, "by_volatility": True},
        ]
    )
    assert request.targets == (
        RegressionTarget(MINUTE_NS, 0, "target_regression_60s"),
        ClassificationTarget(MINUTE_NS, 0, "target_classification_60s", threshold=0.002),
        RiskAdjustedTarget(30 * SECOND_NS, 0, "sharpe", volatility_window_ns=MINUTE_NS),
        TripleBarrierTarget(30 * SECOND_NS, 0, "target_triple_barrier_30s", upper=2.0, lower=1.0, by_volatility=True),
    )
    assert build(target_config={"type": "classification", "horizon": 60}).targets == (ClassificationTarget(MINUTE_NS),)


def test_samples_are_on_rows_or_at_the_times_and_with_the_delay_that_are_asked_for() -> None:
    assert (build().sample_kind, build().read_delay_ns, build().sample_times_ns) == ("on_row", 0, ())
    request = build(
        sample_kind="at_time", read_delay_ms=40, sample_times=["2026-01-05T12:00:00.25Z", "2026-01-05T13:59:59Z"]
    )
    assert (request.sample_kind, request.read_delay_ns) == ("at_time", 40 * MILLISECOND_NS)
    assert request.sample_times_ns == (at("12:00:00.25"), at("13:59:59"))


def test_missing_values_the_price_and_the_output_are_as_asked() -> None:
    request = build(missing="forward_fill", fill_limit="5s", label_price="kline_close", output_format="csv")
    assert (request.missing, request.fill_limit_ns) == ("forward_fill", 5 * SECOND_NS)
    assert (request.label_price, request.output_format, request.check_leakage) == ("kline_close", "csv", True)
    assert build(data_leakage_check=False).check_leakage is False


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
        {"sample_kind": "whenever"},
        {"read_delay_ms": -1},
        {"read_delay_ms": 60_001},
        {"sample_times": ["noon"]},
        {"split_strategy": "k_fold"},
        {"walk_forward_config": {"step_days": 1}},
        {"target_config": {"type": "magic", "horizon": 60}},
        {"missing": "zero"},
        {"output_format": "xlsx"},
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
        ({"split_strategy": "walk_forward"}, "walk_forward_config: must be given for a walk_forward split"),
        ({"walk_forward_config": WALK}, "walk_forward_config: must be left out for a time_based split"),
        (
            {"split_strategy": "walk_forward", "walk_forward_config": {**WALK, "train_window_days": 9}},
            "walk_forward: must make 1 to 400 folds, was 0",
        ),
        (
            {"target_config": {"horizon": 60, "threshold": 0.1}},
            "threshold: must be left out for regression, was 0.1",
        ),
        ({"target_config": {"type": "classification", "horizon": 60, "threshold": -1}}, "must be positive and finite"),
        ({"target_config": [{"horizon": 60}, {"horizon": 60}]}, "each with a name of its own"),
        (
            {"missing": "forward_fill"},
            "fill_limit: must be above 0 with missing forward_fill and left out otherwise, was 0 s",
        ),
        ({"fill_limit": "5s"}, "left out otherwise, was 5 s with keep"),
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
    request = period_request(("BTCUSDT",), at("12:00:00"), at("13:40:00"), "1.0.0")
    assert isinstance(request.strategy, TimeBased)
    assert [(period.start_ns, period.end_ns) for period in request.strategy.periods] == [
        (at("12:00:00"), at("13:10:00")),
        (at("13:10:00"), at("13:25:00")),
        (at("13:25:00"), at("13:40:00")),
    ]
    assert request.targets == (RegressionTarget(MINUTE_NS),)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ({"sample_interval": "1m", "label_price": "kline_close"}, 2),
        ({"sample_interval": "1m", "label_price": "kline_close", "sample_offset": "0s"}, 0),
        ({"sample_interval": "1m", "sample_offset": "5s"}, 5),
        ({"sample_interval": "1m"}, 0),
        ({"sample_interval": "1s", "label_price": "kline_close"}, 0),
    ],
)
def test_samples_of_klines_lie_after_the_kline_has_come(asked: dict[str, Any], seconds: int) -> None:
    assert build(**asked).sample_offset_ns == seconds * SECOND_NS


def test_an_offset_of_an_interval_or_more_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="sample_offset: must be whole seconds below the interval"):
        build(sample_interval="15s", sample_offset="15s")


def test_interpolation_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidRequest, match=r"missing: must be keep, drop or forward_fill, was interpolate: .* later"):
        build(missing="interpolate")


def test_sessions_are_of_an_index_of_shares_and_streams_of_a_hundred_symbols() -> None:
    shares = {"symbol": None, "symbols": [f"S{number}" for number in range(503)]}
    with pytest.raises(ValidationError, match="symbols: must be at most 100 without a calendar, was 503"):
        BuildRequest.model_validate(asked(**shares))
    over_sessions = BuildRequest.model_validate(asked(**shares, calendar="XNYS", sample_interval="1d"))
    assert len(over_sessions.symbols or ()) == 503
