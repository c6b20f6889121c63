"""Rows of history come after the lag of their hour, as measured live, and not after the delay that the log assumes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from feature_client import Dataset
from feature_repo.registry_versions import load_registry_version
from market.clock import HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from runtime.commands import dataset
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from tests.build_places import UNGATED, place_in
from tests.commands import feature_service
from tests.simulated import kernel_of, play_market
from training_sets.builds.builder import build_dataset
from training_sets.builds.verification import verify_dataset
from training_sets.request.derived import CrossSectionalRank, FractionalDifference
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import HOURS, DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.history_lags import measured_lags
from training_sets.samples.inputs import only_column
from transforms.rows import FeatureRows, FeatureSet

START_NS = parse_iso_ns("2026-01-05T12:58:00")
DURATION_NS = 4 * MINUTE_NS
MARKET_NS = parse_iso_ns("2026-01-05T12:59:20")
COUNT = DURATION_NS // SECOND_NS + 130
FEATURES = load_registry_version("1.0.0").feature_set
SYMBOLS = ("BTCUSDT", "ETHUSDT")
ROW_NS = START_NS - MINUTE_NS + np.arange(COUNT) * SECOND_NS
HOUR = (ROW_NS // HOUR_NS % HOURS).astype(np.int64)
DRAW = np.random.default_rng(2)
LIVED_NS = DRAW.choice(np.array([20, 40, 900]) * MILLISECOND_NS, COUNT)
SLOW_NS = DRAW.choice(np.array([20, 900, 1_500, 4_000, 61_000]) * MILLISECOND_NS, COUNT)
IS_HISTORY = DRAW.random(COUNT) < 0.5
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(3 * SECOND_NS),),
    registry_version="1.0.0",
    read_delay_ns=50 * MILLISECOND_NS,
    check_leakage=False,  # the columns are drawn, not computed
)
OF_MANY_ROWS = dataclasses.replace(
    REQUEST,
    symbols=SYMBOLS,
    derived=(FractionalDifference("mid_price", 0.4, 0.02), CrossSectionalRank("mid_price")),
)
ASKED = {
    "filled": dataclasses.replace(OF_MANY_ROWS, missing="forward_fill", fill_limit_ns=3 * SECOND_NS),
    "filled from afar": dataclasses.replace(REQUEST, missing="forward_fill", fill_limit_ns=2 * MINUTE_NS),
    "sparse": dataclasses.replace(OF_MANY_ROWS, sample_interval_ns=10 * SECOND_NS),
}
LAGS = {
    "within a second": {12: 400, 13: 955},
    "falling by seconds": {12: 5_000, 13: 400},
    "falling from the longest to none": {12: 60_000, 13: 0},
    "rising by seconds": {12: 400, 13: 5_000},
    "longer than the interval": {12: 30_000, 13: 11_000},
    "none": {},
}

Int64s = npt.NDArray[np.int64]


def by_hour(of: dict[int, int], other: int = 0) -> tuple[int, ...]:
    return tuple(of.get(hour, other) for hour in range(HOURS))


def write_log(
    folder: Path,
    lag_ns: Int64s,
    symbols: tuple[str, ...] = ("BTCUSDT",),
    chosen: FeatureSet = FEATURES,
    rows: slice = slice(None),
) -> None:
    draw = np.random.default_rng(rows.step or 1)
    with FeatureLogWriter(folder / "features") as log:
        for symbol in symbols:
            values = draw.uniform(0.1, 0.9, (COUNT, len(chosen.columns)))
            values[draw.random(values.shape) < 0.3] = np.nan
            if "mid_price" in chosen.columns:
                prices = 100.0 * np.exp(np.cumsum(draw.standard_normal(COUNT) * 0.002))
                values[:, chosen.columns.index("mid_price")] = prices
            status = np.zeros((COUNT, len(chosen.groups)), np.int8)
            written = FeatureRows(symbol, chosen, ROW_NS, values, status).only(rows)
            log.append(written, (ROW_NS + lag_ns)[rows])


def write_history(folder: Path, history_ns: Int64s) -> None:
    """Rows of history and rows that were served, some of them twice, and of some a group that came by itself."""
    folder.mkdir()
    write_log(folder, np.where(IS_HISTORY, history_ns, SLOW_NS), SYMBOLS)
    write_log(folder, np.where(IS_HISTORY, SLOW_NS[::-1], history_ns), SYMBOLS, rows=slice(None, None, 3))
    write_log(folder, history_ns, SYMBOLS, only_column(FEATURES, "mid_price"), slice(None, None, 7))


def files_of(request: DatasetRequest, folder: Path, name: str, kernels: Path) -> list[bytes]:
    built = build_dataset(request, place_in(folder, kernels, rules=UNGATED), folder / name)
    lags = request.history_lag_ms
    assert built.manifest["samples"].get("history_lag_ms") == (None if lags is None else list(lags))
    return [(built.path / f"{split}.parquet").read_bytes() for split in ("train", "validation", "test")]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("lags", LAGS)
def test_history_makes_the_dataset_of_a_service_that_took_so_long(
    tmp_path: Path, kernel_cache: Path, lags: str, asked: str
) -> None:
    """Whatever the lags, and of rows that were served late between them; in place of other lags' samples too."""
    lag_ms = by_hour(LAGS[lags])
    truly_ns = np.array(lag_ms, np.int64)[HOUR] * MILLISECOND_NS
    folders = {}
    for name, history_ns in (("assumed", np.full(COUNT, AVAILABILITY_DELAY_NS)), ("truly", truly_ns)):
        folders[name] = tmp_path / name
        write_history(folders[name], history_ns)
    request = dataclasses.replace(ASKED[asked], history_lag_ms=lag_ms)
    truly = files_of(ASKED[asked], folders["truly"], "truly", kernel_cache)
    assumed = files_of(ASKED[asked], folders["assumed"], "assumed", kernel_cache)
    assert files_of(request, folders["assumed"], "lagged", kernel_cache) == truly
    assert files_of(request, folders["assumed"], "lagged again", kernel_cache) == truly
    assert (assumed == truly) == (lags == "none")
    if asked == "sparse":
        return
    windows = [
        Dataset.open(folders[log] / name, log_folder=folders[log] / "features")
        .sequences(symbol="BTCUSDT", length=4)
        .to_numpy()
        for log, name in (("assumed", "lagged"), ("truly", "truly"))
    ]
    assert len(windows[0].end_ns) > 0
    for lagged, of_truly in zip(*windows, strict=True):
        np.testing.assert_array_equal(lagged, of_truly)


@pytest.mark.parametrize("asked", ["filled", "sparse"])
def test_the_leakage_check_reckons_with_them(tmp_path: Path, kernel_cache: Path, asked: str) -> None:
    play_market(tmp_path, kernel_of("1.0.0", kernel_cache), seed=5, start_ns=MARKET_NS, duration_ns=MINUTE_NS)
    shutil.rmtree(tmp_path / "features")  # the build makes the rows again, of history
    periods = default_periods(MARKET_NS + 10 * SECOND_NS, MARKET_NS + MINUTE_NS)
    request = dataclasses.replace(
        ASKED[asked],
        symbols=("BTCUSDT",),
        derived=(FractionalDifference("mid_price", 0.4, 0.02),),
        strategy=TimeBased(periods),
        check_leakage=True,
    )
    place = place_in(tmp_path, kernel_cache, rules=UNGATED)
    plain = build_dataset(request, place, tmp_path / "plain")
    lagged = dataclasses.replace(request, history_lag_ms=by_hour(LAGS["falling by seconds"]))
    built = build_dataset(lagged, place, tmp_path / "lagged")
    # What was proven of rows that were had at other moments is not taken for theirs.
    assert built.manifest["leakage"]["rows_rebuilt_from_their_past"] > 0
    assert built.manifest["leakage"]["rows_proven_before"] == 0
    assert (built.path / "train.parquet").read_bytes() != (plain.path / "train.parquet").read_bytes()
    again = build_dataset(lagged, place, tmp_path / "once more")
    assert again.manifest["leakage"]["rows_proven_before"] > 0
    assert verify_dataset(built.path, place, tmp_path / "again").is_exact


def test_a_time_that_is_none_is_refused_by_its_option() -> None:
    answer = CliRunner().invoke(dataset.app, ["lags", "--symbol", "BTCUSDT", "--from", "soon", "--to", "2026-01-05"])
    assert answer.exit_code == 2
    assert "Invalid value for --from: must be an ISO 8601 time, was 'soon'" in answer.output


def test_lags_are_those_of_the_rows_that_were_served_hour_by_hour(tmp_path: Path) -> None:
    lag_ns = np.where(IS_HISTORY, AVAILABILITY_DELAY_NS, LIVED_NS + np.arange(COUNT))
    lag_ns[65] = 2 * HOUR_NS  # caught up on after an outage
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
    is_inside = (ROW_NS >= START_NS) & (ROW_NS < START_NS + DURATION_NS) & ~IS_HISTORY & (lag_ns < HOUR_NS)
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
