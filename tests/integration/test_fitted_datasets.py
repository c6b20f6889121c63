"""Steps are fitted on the train rows of each fold alone, kept to the bit, and do the same to history and a vector."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from feature_client import Dataset
from feature_client.datasets import ServedDifferently
from feature_repo.registry_versions import load_registry_version
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import CorruptStore, InvalidRequest, NotFound
from storage.features.log import FeatureLogWriter
from storage.online.vector import OnlineVector
from tests.build_places import UNGATED, place_in
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.verification import verify_dataset
from training_sets.dataset.manifest import read_manifest
from training_sets.request.fitting import Encoder, Scaler, Winsoriser
from training_sets.request.folds import Fold, PurgedCombinations, TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 6 * MINUTE_NS
SYMBOL = "BTCUSDT"
FEATURES = load_registry_version("1.0.0").feature_set
CLASSED, FREE, CONSTANT = (FEATURES.columns[at] for at in (3, 5, 8))
REQUEST = DatasetRequest(
    symbols=(SYMBOL,),
    strategy=PurgedCombinations(START_NS, START_NS + DURATION_NS, groups=3, test_groups=1),
    targets=(RegressionTarget(2 * SECOND_NS),),
    registry_version="1.0.0",
    check_leakage=False,  # the columns are drawn, not computed
    fitted_steps=(Winsoriser(low=0.05, high=0.9), Scaler(), Scaler((FREE,), "robust"), Encoder((CLASSED,))),
)
IN_TIME = dataclasses.replace(REQUEST, strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)))


def write_log(folder: Path, *, spoiled: tuple[int, int] | None = None) -> None:
    """A feature log of drawn columns; spoiled: [start, end) whose values are others."""
    draw = np.random.default_rng(7)
    count = DURATION_NS // SECOND_NS + 70
    row_ns = START_NS + np.arange(count) * SECOND_NS
    values = draw.uniform(0.1, 0.9, (count, len(FEATURES.columns)))
    values[:, FEATURES.columns.index("mid_price")] = 100.0 * np.exp(np.cumsum(draw.standard_normal(count) * 0.002))
    values[:, FEATURES.columns.index(CLASSED)] = draw.integers(0, 3, count)
    values[:, FEATURES.columns.index(CONSTANT)] = 0.1
    values[draw.random(count) < 0.1, FEATURES.columns.index(FREE)] = np.nan
    if spoiled is not None:
        chosen = (row_ns >= spoiled[0]) & (row_ns < spoiled[1])
        values[chosen] = 7.0 + 3.0 * draw.uniform(0.1, 0.9, (int(chosen.sum()), len(FEATURES.columns)))
        values[chosen, FEATURES.columns.index(CLASSED)] = 5.0
    with FeatureLogWriter(folder / "features") as log:
        status = np.zeros((count, len(FEATURES.groups)), np.int8)
        log.append(FeatureRows(SYMBOL, FEATURES, row_ns, values, status), row_ns + 20_000_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> BuildPlace:
    folder = tmp_path_factory.mktemp("fitted")
    write_log(folder)
    return place_in(folder, kernel_cache, rules=UNGATED)


def plain_steps(train: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the winsoriser and the standard scaler make of one column, value by value."""
    known = sorted(float(value) for value in train.tolist() if not math.isnan(value))

    def quantile(share: float) -> float:
        at = share * (len(known) - 1)
        low = int(at)
        return known[low] + (known[min(low + 1, len(known) - 1)] - known[low]) * (at - low)

    least, most = quantile(0.05), quantile(0.9)
    cut = [min(max(value, least), most) for value in known]
    mean = sum(cut) / len(cut)
    spread = (sum((value - mean) ** 2 for value in cut) / len(cut)) ** 0.5
    found = [value if math.isnan(value) else (min(max(value, least), most) - mean) / spread for value in rows.tolist()]
    return np.array(found)


def test_each_fold_is_fitted_on_its_own_train_rows(place: BuildPlace, tmp_path: Path) -> None:
    built = build_dataset(REQUEST, place, tmp_path / "dataset")
    dataset = Dataset.open(built.path)
    told = json.loads((built.path / "_steps.json").read_text())["folds"]
    assert list(told) == ["fold-000", "fold-001", "fold-002"]
    plain = [name for name in dataset.feature_columns if name not in {CLASSED, FREE, CONSTANT}]
    for fold in range(3):
        steps = dataset.steps(fold)
        train, test = (dataset.load(split, fold=fold).features for split in ("train", "test"))
        assert [each for each in steps.columns if each.startswith(CLASSED)] == [f"{CLASSED}={at}.0" for at in range(3)]
        for name in plain[:4]:
            expected = plain_steps(train[name].to_numpy(), test[name].to_numpy())
            np.testing.assert_allclose(steps.apply(test)[name].to_numpy(), expected, rtol=1e-9)
    assert told["fold-000"] != told["fold-001"]
    with pytest.raises(NotFound, match="fold: must be one of fold-000, fold-001, fold-002, was train"):
        dataset.steps()


def test_history_and_a_vector_alone_have_the_same_bits(place: BuildPlace, tmp_path: Path) -> None:
    built = build_dataset(dataclasses.replace(IN_TIME, output_format="csv"), place, tmp_path / "dataset")
    dataset = Dataset.open(built.path)
    steps, rows = dataset.steps(), dataset.load("test").features
    assert rows[FREE].isna().any()
    rows.loc[rows.index[0], CLASSED] = 9.0
    of_history = steps.apply(rows)
    assert list(of_history) == steps.columns
    assert of_history.index.equals(rows.index)
    assert of_history.iloc[0].filter(like=f"{CLASSED}=").tolist() == [0.0, 0.0, 0.0]
    assert (of_history[CONSTANT] == 0.0).all()
    np.testing.assert_array_equal(of_history[FREE].isna(), rows[FREE].isna())
    order = tuple(reversed(FEATURES.columns))

    def vector_at(at: int) -> OnlineVector:
        values = rows.iloc[at][list(order)].to_numpy(np.float64)
        return OnlineVector(
            SYMBOL, 1, 2, FEATURES.version, FEATURES.fingerprint, order, values, statuses={}, missing={}
        )

    for at in range(len(rows)):
        vector = vector_at(at)
        alone = steps.apply(vector)
        assert alone.tobytes() == of_history.iloc[at].to_numpy(np.float64).tobytes()
        assert steps.apply(rows.iloc[at].to_numpy(np.float64)).tobytes() == alone.tobytes()
    with pytest.raises(ServedDifferently):
        steps.apply(dataclasses.replace(vector_at(0), fingerprint="other"))
    with pytest.raises(InvalidRequest, match="features: must be"):
        steps.apply(np.zeros((2, 3)))


@pytest.mark.parametrize("fold", range(3))
def test_no_number_follows_from_rows_that_are_not_of_train(
    place: BuildPlace, tmp_path: Path, kernel_cache: Path, fold: int
) -> None:
    before = build_dataset(REQUEST, place, tmp_path / "before")
    chosen: Fold = REQUEST.folds()[fold]
    [test] = [period for period in chosen.periods if period.name == "test"]
    write_log(tmp_path, spoiled=(test.start_ns, test.end_ns))
    after = build_dataset(REQUEST, place_in(tmp_path, kernel_cache, rules=UNGATED), tmp_path / "after")
    told = [json.loads((each.path / "_steps.json").read_text())["folds"] for each in (before, after)]
    assert (before.path / f"fold-{fold:03d}/test.parquet").read_bytes() != (
        after.path / f"fold-{fold:03d}/test.parquet"
    ).read_bytes()
    assert told[0][f"fold-{fold:03d}"] == told[1][f"fold-{fold:03d}"]
    others = [f"fold-{other:03d}" for other in range(3) if other != fold]
    assert all(told[0][other] != told[1][other] for other in others)


def test_the_numbers_are_stated_by_hash_and_built_again_to_the_bit(place: BuildPlace, tmp_path: Path) -> None:
    built = build_dataset(IN_TIME, place, tmp_path / "dataset")
    assert built.manifest["fitted_steps"]["path"] == "_steps.json"
    (tmp_path / "again").mkdir()
    assert "_steps.json" in verify_dataset(built.path, place, tmp_path / "again").identical
    steps = built.path / "_steps.json"
    steps.write_text(steps.read_text().replace("1", "2", 1))
    with pytest.raises(CorruptStore, match="must have the bytes that its manifest states"):
        Dataset.open(built.path).steps()
    without = build_dataset(dataclasses.replace(IN_TIME, fitted_steps=None), place, tmp_path / "without")
    assert "fitted_steps" not in read_manifest(without.path)["request"]
    with pytest.raises(NotFound, match="was built without fitted_steps"):
        Dataset.open(without.path).steps()


def test_what_no_row_of_train_knows_stays_unknown_and_steps_that_cannot_be_are_refused(
    place: BuildPlace, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="must be features of the dataset, was no_such"):
        build_dataset(dataclasses.replace(IN_TIME, fitted_steps=(Scaler(("no_such",)),)), place, tmp_path / "a")
    with pytest.raises(InvalidRequest, match="must have at most 64 values"):
        build_dataset(dataclasses.replace(IN_TIME, fitted_steps=(Encoder(("mid_price",)),)), place, tmp_path / "b")
    with pytest.raises(InvalidRequest, match="must end with the encoder of a column"):
        dataclasses.replace(IN_TIME, fitted_steps=(Encoder((FREE,)), Scaler((FREE,))))
