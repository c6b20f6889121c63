"""A dataset with features of other views holds what was known of them when the model acted, and is held to it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, ValueType
from feast.types import Float64, Int64, String

from api.build_request import BuildRequest
from feature_client import Dataset as Read
from feature_repo.apply import apply_definitions
from feature_repo.definitions import symbol as symbol_entity
from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS
from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from market.errors import InvalidRequest
from storage.features.log import FeatureLog
from tests.build_places import UNGATED, place_in
from tests.joined_views import BETA, START_NS, SYMBOLS, check_joined, stamps, view_of, write_beta
from tests.simulated import play_market
from training_sets.builds.admission import check_request
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.standing import stands_for
from training_sets.builds.verification import verify_dataset
from training_sets.dataset.inputs import dataset_inputs
from training_sets.request.features import FeatureChoice
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.columns import DatasetFeatures
from transforms.kernel import compile_kernel

DURATION_NS = 4 * MINUTE_NS
OURS = load_registry_version("1.0.0").feature_set
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(10 * SECOND_NS),),
    registry_version="1.0.0",
    features=FeatureChoice(("beta:value", "fees:maker", "calendar:holidays"), keys={"venue": "bybit"}),
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("market")
    kernel = compile_kernel(OURS, kernel_cache)
    play_market(folder, kernel, seed=5, start_ns=START_NS, duration_ns=DURATION_NS, symbols=len(DEFAULT_SYMBOLS))
    return folder


@pytest.fixture
def place(market: Path, tmp_path: Path, kernel_cache: Path) -> BuildPlace:
    """With a view that is restated and has a time to live, one with a second key, and one without keys or creation."""
    built = place_in(tmp_path, kernel_cache, raw=market / "raw", features=market / "features", rules=UNGATED)
    built = dataclasses.replace(built, draw_seed=lambda: 3)
    write_beta(tmp_path / "beta.parquet")
    fees: dict[str, Any] = {"symbol": ["BTCUSDT", "BTCUSDT"], "venue": ["other", "bybit"], "at": stamps([0, 0])}
    pq.write_table(pa.table({**fees, "created": stamps([0, 0]), "maker": [9.0, 0.5]}), tmp_path / "fees.parquet")
    pq.write_table(pa.table({"at": stamps([-60, 80]), "holidays": [1, 2]}), tmp_path / "calendar.parquet")
    lots: dict[str, Any] = {"lot": [6, 7], "at": stamps([0, 0]), "created": stamps([0, 0]), "size": [1.0, 0.25]}
    pq.write_table(pa.table(lots), tmp_path / "lots.parquet")
    lot = Entity(name="lot", join_keys=["lot"], value_type=ValueType.INT64)
    venue = Entity(name="venue", join_keys=["venue"], value_type=ValueType.STRING)
    symbol = [symbol_entity]
    views = [
        view_of("beta", tmp_path / "beta.parquet", symbol, {"value": Float64, "label": String}),
        view_of("fees", tmp_path / "fees.parquet", [*symbol, venue], {"maker": Float64}),
        view_of("lots", tmp_path / "lots.parquet", [lot], {"size": Float64}),
        view_of("calendar", tmp_path / "calendar.parquet", [], {"holidays": Int64}, created=None),
    ]
    apply_definitions(built.open_store(), [venue, lot, *views])
    return built


def frame(built: Dataset) -> pd.DataFrame:
    return pd.concat([pq.read_table(built.path / f"{split}.parquet").to_pandas() for split in built.records])


def test_values_beside_a_row_are_those_that_were_known_when_it_arrived(
    place: BuildPlace, tmp_path: Path, market: Path
) -> None:
    built = build_dataset(REQUEST, place, tmp_path / "dataset")
    table = frame(built)
    names = ["beta__value", "fees__maker", "calendar__holidays"]
    assert list(table.columns) == ["symbol", "timestamp", *OURS.columns, *names, "target"]
    had_ns: dict[tuple[str, int], int] = {}
    for symbol in SYMBOLS:
        rows, available_ns = FeatureLog(market / "features").read(symbol, OURS, from_ns=None, to_ns=None)
        had_ns |= {(symbol, row): at for row, at in zip(rows.row_ns.tolist(), available_ns.tolist(), strict=True)}
    times_ns = table["timestamp"].astype("int64")
    check_joined(table, [had_ns[key] for key in zip(table["symbol"], times_ns, strict=True)])
    # What arrived 10 ms after second 60 knows the value of second 60, which no row of it does before.
    second = table[(table["symbol"] == "BTCUSDT") & (times_ns == START_NS + 60 * SECOND_NS)]
    assert second["beta__value"].tolist() == [3.0]

    manifest = built.manifest
    assert manifest["feature_references"][-3:] == ["beta:value", "fees:maker", "calendar:holidays"]
    assert manifest["feature_references"][0] == f"{OURS.groups[0].name}:{OURS.columns[0]}"
    assert manifest["column_roles"]["features"] == [*OURS.columns, *names]
    assert [(each["name"], each["keys"], each["created_timestamp"]) for each in manifest["joined_views"]] == [
        ("beta", ["symbol"], "created"),
        ("fees", ["symbol", "venue"], "created"),
        ("calendar", [], None),
    ]
    assert [Path(each["path"]).name for each in manifest["joined_files"]] == [
        "beta.parquet",
        "fees.parquet",
        "calendar.parquet",
    ]
    leakage = manifest["leakage"]
    assert (leakage["rows_joined_again"], leakage["views_not_proven"]) == (leakage["rows_drawn"], ["calendar"])
    assert any("when rows of calendar could be read" in warning for warning in manifest["warnings"])
    assert verify_dataset(built.path, place, tmp_path / "again").is_exact


def test_with_history_lags_they_are_those_of_the_later_moment_and_are_found_again_so(
    place: BuildPlace, tmp_path: Path
) -> None:
    history = dataclasses.replace(place, features=FeatureLog(tmp_path / "history"))  # every row is rebuilt into it
    built = build_dataset(dataclasses.replace(REQUEST, history_lag_ms=(7_000,) * 24), history, tmp_path / "dataset")
    table = frame(built)
    check_joined(table, (table["timestamp"].astype("int64") + 7 * SECOND_NS).tolist())
    assert built.manifest["leakage"]["rows_joined_again"] == built.manifest["leakage"]["rows_drawn"]


def test_who_asks_at_a_time_has_what_is_known_then_with_or_without_a_tick(place: BuildPlace, tmp_path: Path) -> None:
    choice = FeatureChoice(
        ("beta:value", "price:mid_price", "fees:maker", "calendar:holidays"), is_beside=False, keys={"venue": "bybit"}
    )
    asked = dataclasses.replace(
        REQUEST,
        features=choice,
        sample_kind="at_time",
        sample_times_ns=tuple(
            START_NS + second * SECOND_NS + 7 * MILLISECOND_NS for second in range(2, DURATION_NS // SECOND_NS - 20, 4)
        ),
    )
    built = build_dataset(asked, place, tmp_path / "dataset")
    table = frame(built)
    names = ["mid_price", "beta__value", "fees__maker", "calendar__holidays"]
    assert list(table.columns) == ["symbol", "timestamp", *names, "target"]
    assert built.manifest["feature_references"] == [
        "price:mid_price",
        "beta:value",
        "fees:maker",
        "calendar:holidays",
    ]
    check_joined(table, table["timestamp"].astype("int64").tolist())
    whole = build_dataset(dataclasses.replace(asked, features=None), place, tmp_path / "whole")
    both = frame(whole).merge(table, on=["symbol", "timestamp"], suffixes=("_whole", ""))
    assert len(both) == len(frame(whole)) > 40
    pd.testing.assert_series_equal(both["mid_price"], both["mid_price_whole"], check_names=False)
    # The SDK takes any answer by these names, in the dataset's order.
    read = Read.open(built.path)
    answer: dict[str, list[Any]] = {
        "fees__maker": [0.1],
        "calendar__holidays": [3],
        "mid_price": [7.0],
        "beta__value": [None],
    }
    assert np.array_equal(read.feature_matrix(answer), [[7.0, np.nan, 0.1, 3.0]], equal_nan=True)
    references: dict[str, list[Any]] = {"fees:maker": [0.1], "calendar:holidays": [3], "beta:value": [None]}
    told = read.feature_matrix(references | {"price:mid_price": [7.0], "index:mid_price": [8.0]})
    assert np.array_equal(told, [[7.0, np.nan, 0.1, 3.0]], equal_nan=True)
    assert read.feature_references == built.manifest["feature_references"]
    with pytest.raises(InvalidRequest, match="sequences: must have only features of the log"):
        read.sequences(length=2)


def test_a_value_from_the_future_in_a_joined_column_fails_the_build_by_name(place: BuildPlace, tmp_path: Path) -> None:
    path = tmp_path / "dataset" / "train.parquet"

    def tamper(step: str) -> None:
        if step.startswith("checking"):
            table = pq.read_table(path, partitioning=None)
            values = table.column("beta__value").to_numpy().copy()
            values[len(values) // 3 :] = 2.0  # known 60 s after it was
            pq.write_table(
                table.set_column(table.schema.names.index("beta__value"), "beta__value", pa.array(values)), path
            )

    with pytest.raises(InvalidRequest, match=r"leakage: beta__value of .* must be what its past gives, .*, was 2\.0"):
        build_dataset(REQUEST, place, tmp_path / "dataset", on_step=tamper)


def test_a_row_with_an_unknown_joined_value_is_kept_or_dropped_as_any_other(place: BuildPlace, tmp_path: Path) -> None:
    choice = FeatureChoice(("beta:value", "lots:size"), is_beside=False, keys={"lot": "7"})
    alone = dataclasses.replace(REQUEST, features=choice, missing="drop")
    built = build_dataset(alone, place, tmp_path / "dataset")
    table = frame(built)
    assert list(table.columns) == ["symbol", "timestamp", "beta__value", "lots__size", "target"]
    assert not table["beta__value"].isna().any()
    assert set(table["lots__size"]) == {0.25}
    # Null from second 100 to 150, of both symbols.
    assert built.manifest["rows_dropped_by_column"] == {"beta__value": 100}


def test_a_dataset_stands_until_a_source_or_a_definition_of_its_views_changes(
    place: BuildPlace, tmp_path: Path
) -> None:
    built = build_dataset(REQUEST, place, tmp_path / "dataset")

    def stands() -> bool:
        features = DatasetFeatures.of(REQUEST, OURS, place.open_store)
        inputs = dataset_inputs(REQUEST, features, place.features, place.raw.parquet, place.rules)
        return stands_for(built.path, inputs)

    assert stands()
    write_beta(tmp_path / "beta.parquet", [*BETA, (200, 200, 7.0)])
    assert not stands()
    write_beta(tmp_path / "beta.parquet")
    assert stands()
    store: FeatureStore = place.open_store()
    beta = store.get_feature_view("beta")
    beta.ttl = timedelta(seconds=1)
    apply_definitions(store, [beta])
    assert not stands()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (FeatureChoice(("nothing:value",)), "features: must be of views of the repository, .*beta.*, was nothing"),
        (FeatureChoice(("beta:gamma",)), "features: beta must have the feature, was gamma; it has value, label"),
        (FeatureChoice(("beta:label",)), "features: must be numbers, was beta:label of string"),
        (FeatureChoice(("price:mid_price",)), "must be of other views than the registry version, .*price:mid_price"),
        (FeatureChoice(("price:nothing",), is_beside=False), "must be of registry 1.0.0, whose price has mid_price"),
        (FeatureChoice(("candles:anything",)), "must be of the registry version where they are of candles"),
        (FeatureChoice(("fees:maker",)), "feature_keys: must have every key .*, was without venue of fees"),
        (FeatureChoice(("lots:size",), keys={"lot": "x"}), "feature_keys.lot: must be of Int64, .*lots, was 'x'"),
        (FeatureChoice(("beta:value",), keys={"venue": "x"}), "feature_keys: must be keys of the views, was venue"),
        (FeatureChoice(("price:mid_price",), is_beside=False, keys={"a": 1}), "feature_keys: must be keys"),
    ],
)
def test_what_cannot_be_joined_is_refused_at_once_by_name(
    place: BuildPlace, choice: FeatureChoice, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_request(dataclasses.replace(REQUEST, features=choice), place, now_ns=START_NS + DAY_NS)


def test_the_form_of_the_api_names_views_beside_a_version_or_instead_of_one() -> None:
    periods = {
        f"{name}_period_{side}": f"2026-01-0{at + (side == 'end')}"
        for at, name in enumerate(("train", "validation", "test"), 1)
        for side in ("start", "end")
    }
    form: dict[str, Any] = {"symbol": "BTCUSDT", **periods, "target_config": {"type": "regression", "horizon": "1m"}}
    named = form | {"features": ["beta:value"], "feature_keys": {"venue": "bybit"}}
    beside = BuildRequest.model_validate(named | {"feature_registry_version": "1.0.0"}).to_request("1.2.0")
    instead = BuildRequest.model_validate(named).to_request("1.2.0")
    assert beside.features == FeatureChoice(("beta:value",), keys={"venue": "bybit"})
    assert instead.features == FeatureChoice(("beta:value",), is_beside=False, keys={"venue": "bybit"})
    assert (beside.registry_version, instead.registry_version) == ("1.0.0", "1.2.0")
    for wrong in ({"features": ["beta"]}, {"features": ["a:b", "a:b"]}, {"feature_keys": {"venue": "x"}}):
        with pytest.raises(InvalidRequest, match="feature"):
            BuildRequest.model_validate(form | wrong).to_request("1.2.0")
