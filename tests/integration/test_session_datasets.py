"""Datasets of daily samples: a row a session of an exchange, horizons in sessions, on real bars of two shares."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.build_request import BuildRequest
from feature_client import Dataset as Read
from market.clock import DAY_NS, HOUR_NS, parse_iso_ns
from market.errors import InvalidRequest
from runtime.commands.dataset_request import plain_request
from runtime.equities_demo import write_example
from storage.tables.computing import add_table, compute_groups
from tests.build_places import UNGATED, place_in
from training_sets.builds.admission import check_request
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.standing import stands_for
from training_sets.builds.tables import build_inputs
from training_sets.builds.verification import verify_dataset
from training_sets.request.features import FeatureChoice
from training_sets.request.request import DatasetRequest, request_document, stated_request
from training_sets.samples.columns import DatasetFeatures

NOW_NS = parse_iso_ns("2013-03-02T12:00:00")
HORIZON = 5
ASKED: dict[str, Any] = {
    "symbols": ["AAPL", "MSFT"],
    "features": ["price_volume_features:returns_1d", "momentum_features:rsi_14", "price_volume_features:close_price"],
    "sample_interval": "1d",
    "calendar": "XNYS",
    "target_config": [
        {"type": "regression", "horizon": f"{HORIZON}d"},
        {"type": "triple_barrier", "horizon": "5d", "upper": 0.02, "lower": 0.02, "name": "touched"},
        {"type": "risk_adjusted", "horizon": "1d", "name": "by_risk"},
    ],
    "sample_weight": {"by": "uniqueness", "target": "touched"},
    "train_period_start": "2008-01-01T00:00:00-05:00",
    "train_period_end": "2010-01-01T00:00:00-05:00",
    "validation_period_start": "2010-01-01T00:00:00-05:00",
    "validation_period_end": "2011-01-01T00:00:00-05:00",
    "test_period_start": "2011-01-01T00:00:00-05:00",
    "test_period_end": "2012-01-01T00:00:00-05:00",
}


def asked(**changes: Any) -> DatasetRequest:  # noqa: ANN401  # fields of the request
    return BuildRequest.model_validate({**ASKED, **changes}).to_request("2.1.0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> BuildPlace:
    """Thirteen years of bars, their features, and nothing of any stream."""
    folder = tmp_path_factory.mktemp("sessions")
    table = add_table(write_example(folder / "bars", last_day=date(2013, 3, 1)), folder / "tables")
    compute_groups([table.mapping], folder / "features", now_ns=NOW_NS)
    return dataclasses.replace(place_in(folder, kernel_cache), tables_folder=folder / "tables")


@pytest.fixture(scope="module")
def built(place: BuildPlace, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(asked(), place, tmp_path_factory.mktemp("built"))


def bars_of(place: BuildPlace, symbol: str) -> pd.DataFrame:
    assert place.tables_folder is not None
    bars = pd.read_csv(place.tables_folder.parent / "bars" / "daily_bars.csv.gz")
    bars = bars[bars["ticker"] == symbol].reset_index(drop=True)
    bars["return"] = (bars["close"] + bars["dividend"]) * bars["split_ratio"] / bars["close"].shift() - 1.0
    return bars.set_index("date")


def rows_of(built: Dataset, split: str, symbol: str) -> pd.DataFrame:
    rows = pq.read_table(built.path / f"{split}.parquet").to_pandas()
    rows = rows[rows["symbol"] == symbol]
    rows["date"] = (rows["timestamp"].dt.tz_convert("America/New_York")).dt.strftime("%Y-%m-%d")
    return rows.set_index("date")


@pytest.mark.parametrize("symbol", ["AAPL", "MSFT"])
def test_a_row_a_session_has_what_was_known_after_its_close_and_the_return_of_the_sessions_after(
    place: BuildPlace, built: Dataset, symbol: str
) -> None:
    bars, rows = bars_of(place, symbol), rows_of(built, "train", symbol)
    days = [day for day in bars.index if "2008-01-01" <= day <= "2009-12-31"]
    assert rows.index.tolist() == days[:-HORIZON]
    own = bars.loc[rows.index]
    assert rows["price_volume_features__close_price"].tolist() == own["close"].tolist()
    np.testing.assert_allclose(rows["price_volume_features__returns_1d"], own["return"], rtol=0, atol=1e-12)
    ahead = sum(np.log1p(bars["return"]).shift(-step) for step in range(1, HORIZON + 1))
    np.testing.assert_allclose(rows[f"target_regression_{HORIZON * 86400}s"], np.expm1(ahead)[rows.index], atol=1e-9)
    deviation = bars["return"].rolling(20).std(ddof=0)
    np.testing.assert_allclose(rows["by_risk"], (bars["return"].shift(-1) / deviation)[rows.index], rtol=1e-6)


def test_a_barrier_is_met_by_the_highs_and_lows_of_the_sessions_after(place: BuildPlace, built: Dataset) -> None:
    bars, rows = bars_of(place, "MSFT"), rows_of(built, "validation", "MSFT")
    dates = bars.index.tolist()
    for day, row in rows.iterrows():
        at = dates.index(day)
        after = bars.iloc[at + 1 : at + 1 + HORIZON]
        if (after["dividend"] > 0).any():
            continue
        low, high = after["low"] / bars["close"].iloc[at] - 1.0, after["high"] / bars["close"].iloc[at] - 1.0
        met = [(place, -1) for place in after.index[low <= -0.02]] + [(place, 1) for place in after.index[high >= 0.02]]
        met_on, expected = min(met, default=(dates[at + HORIZON], 0))
        assert row["touched"] == expected
        met_at = row["touched_t1"].tz_convert("America/New_York")
        assert met_at.strftime("%Y-%m-%d") == met_on
        assert met_at.hour in {16, 13}  # a short session


def test_no_label_reaches_into_the_next_split_and_the_manifest_proves_it(built: Dataset) -> None:
    manifest = built.manifest
    train, validation, test = manifest["splits"]
    assert (train["purged"], validation["purged"], test["purged"]) == (2 * HORIZON, 2 * HORIZON, 0)
    assert train["last_label_end"] == "2009-12-31T21:00:00Z"
    assert not any(split["overlaps_next"] for split in manifest["splits"])
    assert [train["records"], validation["records"], test["records"]] == [2 * 500, 2 * 247, 2 * 252]
    assert manifest["samples"]["calendar"] == "XNYS"
    assert manifest["label_price"] == {"AAPL": "session_close", "MSFT": "session_close"}
    leakage = manifest["leakage"]
    assert leakage["rows_drawn"] >= 2 * 93
    assert leakage["rows_joined_again"] == leakage["rows_drawn"]
    assert leakage["table_rows_computed_again"] == 2 * leakage["rows_drawn"]
    assert leakage["labels_made_again"] == 3 * leakage["rows_drawn"]
    assert manifest["weights"]["splits"][0]["mean_concurrency"] > 1.0


def test_the_same_request_stands_until_a_bar_changes(place: BuildPlace, built: Dataset) -> None:
    request = asked()
    assert stated_request(request_document(request)) == request
    features = DatasetFeatures.of(request, place.feature_set(request.registry_version), place.open_store)
    assert stands_for(built.path, build_inputs(request, features, place))
    assert place.tables_folder is not None
    bars = place.tables_folder.parent / "bars" / "daily_bars.csv.gz"
    held = bars.read_bytes()
    try:
        bars.write_bytes(held + held[:0] + b"\x00")
        assert not stands_for(built.path, build_inputs(request, features, place))
    finally:
        bars.write_bytes(held)


def test_the_dataset_is_built_again_to_the_byte_and_loaded(place: BuildPlace, built: Dataset, tmp_path: Path) -> None:
    assert verify_dataset(built.path, place, tmp_path).is_exact
    loaded = Read.open(built.path).load("train")
    assert loaded.features.columns.tolist() == [
        "price_volume_features__returns_1d",
        "price_volume_features__close_price",
        "momentum_features__rsi_14",
    ]
    assert len(loaded.features) == built.records["train"] == 1000


def test_the_options_of_the_command_make_the_same_request() -> None:
    times = [f"{year}-01-01T05:00:00" for year in (2008, 2010, 2010, 2011, 2011, 2012)]
    request = plain_request(
        ASKED["symbols"],
        None,
        None,
        tuple(times),
        horizon="5d",
        sample_interval="1s",
        sample_kind="on_row",
        read_delay_ms=0,
        registry="2.1.0",
        features=FeatureChoice(tuple(ASKED["features"]), is_beside=False),
        calendar="XNYS",
    )
    assert request == asked(target_config={"type": "regression", "horizon": "5d"}, sample_weight=None)


def test_an_embargo_of_sessions_drops_so_many_rows_after_each_boundary(place: BuildPlace, tmp_path: Path) -> None:
    place = dataclasses.replace(place, rules=UNGATED)
    request = asked(embargo="3d", target_config={"type": "regression", "horizon": "1d"}, sample_weight=None)
    splits = build_dataset(request, place, tmp_path).manifest["splits"]
    assert [(split["purged"], split["embargoed"]) for split in splits] == [(2, 0), (2, 2 * 3), (0, 2 * 3)]
    folds = asked(
        split_strategy="cpcv",
        cpcv_config={
            "start_date": "2008-01-01T00:00:00-05:00",
            "end_date": "2012-01-01T00:00:00-05:00",
            "groups": 4,
            "test_groups": 1,
        },
        target_config={"type": "regression", "horizon": "5d"},
        sample_weight=None,
        data_leakage_check=False,
        **{name: None for name in ASKED if name.endswith(("_start", "_end"))},
    )
    (tmp_path / "folds").mkdir()
    manifest = build_dataset(folds, place, tmp_path / "folds").manifest
    assert not any(split["overlaps_next"] for fold in manifest["folds"] for split in fold["splits"])
    assert len(manifest["folds"]) == 4


def test_a_value_that_was_not_known_at_the_sample_fails_the_build(place: BuildPlace, tmp_path: Path) -> None:
    """A log whose rows claim to be known three days before they were: retrieval believes it, the table does not."""
    features = tmp_path / "features"
    assert place.tables_folder is not None
    for file in (place.tables_folder.parent / "features").rglob("*.parquet"):
        table = pq.read_table(file)
        for name in ("event_timestamp", "created_timestamp"):
            times_ns = table[name].cast(pa.int64()).to_numpy() - 3 * DAY_NS
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(times_ns).cast(table.schema.field(at).type))
        copied = features / file.relative_to(place.tables_folder.parent / "features")
        copied.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, copied)
    wrong = dataclasses.replace(
        place_in(tmp_path, place.kernels_folder, features=features), tables_folder=place.tables_folder
    )
    (tmp_path / "built").mkdir()
    with pytest.raises(InvalidRequest, match=r"leakage: price_volume_features__.* must be what its past gives"):
        build_dataset(asked(), wrong, tmp_path / "built")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"calendar": "NOPE"}, "calendar: must be an exchange such as XNYS, was 'NOPE'"),
        ({"sample_interval": "1m"}, "calendar: must be with a sample_interval of 1d, was with 1m"),
        ({"features": None}, "calendar: must be with features by name and no registry version, whose columns are of a"),
        ({"feature_registry_version": "2.1.0"}, "calendar: must be with features by name and no registry version"),
        (
            {"target_config": {"type": "regression", "horizon": "36h"}},
            "target: horizon and decision_delay must be whole steps",
        ),
        ({"embargo": "36h"}, "embargo: must be whole sessions"),
        ({"missing": "forward_fill", "fill_limit": "5d"}, "calendar: must be without sampling of another kind"),
    ],
)
def test_what_no_session_has_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        asked(sample_weight=None, **changes)


def test_bars_that_were_not_added_are_refused_at_once(place: BuildPlace, tmp_path: Path) -> None:
    nowhere = dataclasses.replace(place, tables_folder=tmp_path)
    with pytest.raises(InvalidRequest, match="calendar: must be with a table daily_bars"):
        check_request(asked(), nowhere, now_ns=NOW_NS)
    check_request(asked(), place, now_ns=NOW_NS)
    with pytest.raises(InvalidRequest, match="symbols: must have rows in daily_bars, was IBM"):
        build_dataset(asked(symbols=["IBM"]), place, tmp_path)


def test_samples_lie_after_the_close_of_each_session_short_ones_too() -> None:
    request = asked(sample_offset="15m")
    assert request.sessions is not None
    closes = {time_ns - 15 * 60 * 10**9 for time_ns in request.sample_times_ns}
    assert closes <= set(request.sessions.closes_ns)
    assert parse_iso_ns("2009-12-24T18:00:00") in closes  # closed at 13:00 in New York
    assert asked().sample_times_ns[0] == parse_iso_ns("2008-01-02T21:00:00") + 4 * HOUR_NS
