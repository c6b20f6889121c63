"""Rows of history come after the lag of their hour, as measured live, and not after the delay that the log assumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from feature_repo.registry_versions import load_registry_version
from market.clock import HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from runtime.commands import dataset
from storage.features.log import FeatureLog, FeatureLogWriter
from tests.build_places import UNGATED, place_in
from tests.commands import feature_service
from tests.simulated import kernel_of, play_market
from training_sets.builds.builder import build_dataset
from training_sets.builds.verification import verify_dataset
from training_sets.rebuild.rebuild import AVAILABILITY_DELAY_NS
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import HOURS, DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.history_lags import measured_lags
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:58:00")
DURATION_NS = 4 * MINUTE_NS
COUNT = DURATION_NS // SECOND_NS + 70
FEATURES = load_registry_version("1.0.0").feature_set
ROW_NS = START_NS + np.arange(COUNT) * SECOND_NS
DRAW = np.random.default_rng(2)
LIVED_NS = DRAW.choice(np.array([20, 40, 900]) * MILLISECOND_NS, COUNT)
IS_HISTORY = DRAW.random(COUNT) < 0.5
LAG_MS = tuple({12: 400, 13: 955}.get(hour, 7) for hour in range(HOURS))
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(3 * SECOND_NS),),
    registry_version="1.0.0",
    read_delay_ns=50 * MILLISECOND_NS,
    check_leakage=False,  # the columns are drawn, not computed
)

Int64s = npt.NDArray[np.int64]


def write_log(folder: Path, lag_ns: Int64s) -> None:
    draw = np.random.default_rng(6)
    values = draw.uniform(0.1, 0.9, (COUNT, len(FEATURES.columns)))
    values[:, FEATURES.columns.index("mid_price")] = 100.0 * np.exp(np.cumsum(draw.standard_normal(COUNT) * 0.002))
    with FeatureLogWriter(folder / "features") as log:
        status = np.zeros((COUNT, len(FEATURES.groups)), np.int8)
        log.append(FeatureRows("BTCUSDT", FEATURES, ROW_NS, values, status), ROW_NS + lag_ns)


def test_history_has_the_labels_of_a_service_that_took_so_long(tmp_path: Path, kernel_cache: Path) -> None:
    hours = (ROW_NS // HOUR_NS % HOURS).astype(np.int64)
    by_hour = np.array(LAG_MS, np.int64)[hours] * MILLISECOND_NS
    files = {}
    for name, history_ns, lag_ms in (
        ("assumed", np.full(COUNT, AVAILABILITY_DELAY_NS), None),
        ("asked", np.full(COUNT, AVAILABILITY_DELAY_NS), LAG_MS),
        ("truly", by_hour, None),
    ):
        (tmp_path / name).mkdir()
        write_log(tmp_path / name, np.where(IS_HISTORY, history_ns, LIVED_NS))
        request = dataclasses.replace(REQUEST, history_lag_ms=lag_ms)
        built = build_dataset(request, place_in(tmp_path / name, kernel_cache, rules=UNGATED), tmp_path / f"{name}-ds")
        assert built.manifest["samples"].get("history_lag_ms") == (None if lag_ms is None else list(lag_ms))
        files[name] = [(built.path / f"{split}.parquet").read_bytes() for split in ("train", "validation", "test")]
    assert files["asked"] == files["truly"]
    assert files["asked"] != files["assumed"]


def test_the_leakage_check_reckons_with_them(tmp_path: Path, kernel_cache: Path) -> None:
    play_market(tmp_path, kernel_of("1.0.0", kernel_cache), seed=5, start_ns=START_NS, duration_ns=2 * MINUTE_NS)
    periods = default_periods(START_NS + 10 * SECOND_NS, START_NS + 2 * MINUTE_NS)
    request = dataclasses.replace(
        REQUEST, strategy=TimeBased(periods), check_leakage=True, history_lag_ms=(970,) * HOURS
    )
    place = place_in(tmp_path, kernel_cache, rules=UNGATED)
    plain = build_dataset(dataclasses.replace(request, history_lag_ms=None), place, tmp_path / "plain")
    built = build_dataset(request, place, tmp_path / "lagged")
    assert built.manifest["leakage"]["rows_proven_before"] > 0
    assert (built.path / "train.parquet").read_bytes() != (plain.path / "train.parquet").read_bytes()
    assert verify_dataset(built.path, place, tmp_path / "again").is_exact


def test_a_time_that_is_none_is_refused_by_its_option() -> None:
    answer = CliRunner().invoke(dataset.app, ["lags", "--symbol", "BTCUSDT", "--from", "soon", "--to", "2026-01-05"])
    assert answer.exit_code == 2
    assert "Invalid value for --from: must be an ISO 8601 time, was 'soon'" in answer.output


def test_lags_are_those_of_the_rows_that_were_served_hour_by_hour(tmp_path: Path) -> None:
    lag_ns = np.where(IS_HISTORY, AVAILABILITY_DELAY_NS, LIVED_NS + np.arange(COUNT))
    lag_ns[5] = 2 * HOUR_NS  # caught up on after an outage
    write_log(tmp_path, lag_ns)
    found = measured_lags(
        FeatureLog(tmp_path / "features"),
        FEATURES,
        "BTCUSDT",
        from_ns=START_NS,
        to_ns=START_NS + DURATION_NS,
        quantile=0.5,
    )
    hours = ROW_NS // HOUR_NS % HOURS
    is_inside = (ROW_NS < START_NS + DURATION_NS) & ~IS_HISTORY & (lag_ns < HOUR_NS)
    for hour in (12, 13):
        own = np.sort(lag_ns[is_inside & (hours == hour)])
        assert found.rows[hour] == len(own) > 30
        # The row of which half come no later, rounded up to a millisecond.
        assert found.lag_ms[hour] == -(-int(own[-(-(len(own) - 1) // 2)]) // MILLISECOND_NS)
    others = [hour for hour in range(HOURS) if hour not in {12, 13}]
    assert {found.lag_ms[hour] for hour in others} == {max(found.lag_ms[12:14])}
    assert {found.rows[hour] for hour in others} == {0}
    period = ("--from", "2026-01-05T12:58:00", "--to", "2026-01-05T13:02:00", "--quantile", 0.5)
    told = feature_service("dataset", "lags", "--symbol", "BTCUSDT", *period, "--registry", "1.0.0", "--data", tmp_path)
    assert told == (0, {"history_lag_ms": list(found.lag_ms), "rows": list(found.rows)})


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for lags in ((1,) * 23, (-1,) * 24, (60_001,) * 24):
        with pytest.raises(InvalidRequest, match="history_lag_ms: must be 24 of 0 to 60000"):
            dataclasses.replace(REQUEST, history_lag_ms=lags)
    with pytest.raises(InvalidRequest, match="history_lag_ms: must be of on_row samples, was of at_time"):
        dataclasses.replace(REQUEST, sample_kind="at_time", history_lag_ms=(1,) * 24)
    write_log(tmp_path, np.full(COUNT, AVAILABILITY_DELAY_NS))
    with pytest.raises(InvalidRequest, match=r"must have rows of registry 1\.0\.0 that were served, had none"):
        measured_lags(
            FeatureLog(tmp_path / "features"),
            FEATURES,
            "BTCUSDT",
            from_ns=START_NS,
            to_ns=int(ROW_NS[-1]),
            quantile=0.5,
        )
