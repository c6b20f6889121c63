"""Datasets of meta-labels: rows where a primary model spoke, its side as an input, and whether its trade was right."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.build_request import BuildRequest
from feature_client import Dataset
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, ceil_to, format_iso, parse_iso_ns
from market.errors import InvalidRequest
from tests.build_places import UNGATED, place_in
from tests.simulated import kernel_of, play_market
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.verification import verify_dataset
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.sampling import SignalSampling
from training_sets.request.targets import ClassificationTarget, MetaLabelTarget, RegressionTarget
from training_sets.request.weighting import Weighting
from training_sets.samples.prices import MID

START_NS = parse_iso_ns("2026-01-05T12:00:00")
FROM_NS = START_NS + 20 * SECOND_NS
DURATION_NS = 6 * MINUTE_NS
HORIZON = 10
PROFIT, STOP = 4e-5, 3e-5
SYMBOL = "BTCUSDT"
DRAW = np.random.default_rng(9)
# Some of them between rows: those are told to the row after.
TIMES_NS = tuple(
    FROM_NS + second * SECOND_NS - int(early) * 30 * MILLISECOND_NS
    for second, early in zip(range(2, 330, 3), DRAW.random(110) < 0.3, strict=True)
)
SIDES = tuple(int(side) for side in DRAW.choice([-1, 1], len(TIMES_NS)))
REQUEST = DatasetRequest(
    symbols=(SYMBOL,),
    strategy=TimeBased(default_periods(FROM_NS, START_NS + DURATION_NS)),
    targets=(
        MetaLabelTarget(HORIZON * SECOND_NS, name="was_right", upper=PROFIT, lower=STOP),
        RegressionTarget(HORIZON * SECOND_NS, name="change"),
    ),
    registry_version="1.0.0",
    sampling=SignalSampling(TIMES_NS, SIDES),
    weighting=Weighting(target="was_right"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> BuildPlace:
    folder = tmp_path_factory.mktemp("signals")
    play_market(folder, kernel_of("1.0.0", kernel_cache), seed=5, start_ns=START_NS, duration_ns=DURATION_NS)
    return place_in(folder, kernel_cache, rules=UNGATED)


def outcome(mids: dict[int, float], acted_ns: int, side: int) -> tuple[int, str, int]:
    """Label, barrier and when, second by second."""
    entry_ns = acted_ns // SECOND_NS * SECOND_NS
    gain, at_ns = 0.0, entry_ns
    for step in range(1, HORIZON + 1):
        at_ns = entry_ns + step * SECOND_NS
        gain = side * (mids[at_ns] / mids[entry_ns] - 1.0)
        if gain <= -STOP:
            return 0, "stop", at_ns
        if gain >= PROFIT:
            return 1, "profit", at_ns
    return int(gain > 0.0), "end", at_ns


def test_rows_labels_and_sides_are_those_of_the_trades_and_the_build_is_checked(
    place: BuildPlace, tmp_path: Path
) -> None:
    built = build_dataset(REQUEST, place, tmp_path / "dataset")
    log, _ = place.features.read(SYMBOL, MID, from_ns=START_NS, to_ns=START_NS + DURATION_NS + MINUTE_NS)
    mids = dict(zip(log.row_ns.tolist(), log.values[:, 0].tolist(), strict=True))
    side_of = {ceil_to(time_ns, SECOND_NS): side for time_ns, side in zip(TIMES_NS, SIDES, strict=True)}
    seen = []
    for split in ("train", "validation", "test"):
        table = pq.read_table(built.path / f"{split}.parquet")
        times = [table.column(name).cast(pa.int64()).to_pylist() for name in ("timestamp", "was_right_t1")]
        others = [table.column(name).to_pylist() for name in ("side", "was_right", "was_right_barrier")]
        for time_ns, touched_ns, side, was_right, barrier in zip(*times, *others, strict=True):
            assert side == side_of[time_ns]
            assert (was_right, barrier, touched_ns) == outcome(mids, time_ns, int(side))
            seen.append((time_ns, side, was_right, barrier))
    assert len({time_ns for time_ns, *_ in seen}) == len(seen) > 80
    assert {(side, right) for _, side, right, _ in seen} == {(-1, 0), (-1, 1), (1, 0), (1, 1)}
    assert {barrier for *_, barrier in seen} >= {"stop", "profit"}
    assert built.manifest["leakage"]["labels_made_again"] == 2 * built.manifest["leakage"]["rows_drawn"] > 100
    named = {"wrong": 0.0, "right": 1.0}
    assert built.manifest["classes"] == Dataset.open(built.path).classes == {"was_right": named}
    rights = [right for _, _, right, _ in seen]
    told = [split["targets"]["was_right"]["classes"] for split in built.manifest["splits"]]
    counts = [built.manifest["records"][split] for split in ("train", "validation", "test")]
    assert sum(each["right"] * count for each, count in zip(told, counts, strict=True)) == pytest.approx(sum(rights))
    assert all(set(each) == set(named) for each in told)
    assert verify_dataset(built.path, place, tmp_path / "again").is_exact


def test_the_side_is_an_input_beside_the_features_and_no_feature(place: BuildPlace, tmp_path: Path) -> None:
    for output_format in ("parquet", "csv"):
        request = dataclasses.replace(REQUEST, output_format=output_format)
        dataset = Dataset.open(build_dataset(request, place, tmp_path / output_format).path)
        assert dataset.input_columns == ["side"]
        assert "side" not in dataset.feature_columns
        loaded, inputs = dataset.load("train"), dataset.inputs("train")
        assert inputs.index.equals(loaded.features.index)
        assert set(inputs["side"]) == {-1.0, 1.0}
        assert dataset.weights("train")["sample_weight"].sum() == pytest.approx(len(inputs))


def test_what_cannot_be_judged_is_refused(place: BuildPlace, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="meta_label: must be of a request whose sampling is by signals"):
        dataclasses.replace(REQUEST, sampling=None)
    with pytest.raises(InvalidRequest, match=r"sampling\.signals: must lie in the periods"):
        dataclasses.replace(REQUEST, sampling=SignalSampling((FROM_NS - SECOND_NS,), (1,)))
    with pytest.raises(InvalidRequest, match="must have a side of 1 or -1, was 0"):
        SignalSampling((FROM_NS,), (0,))
    with pytest.raises(InvalidRequest, match="must be ascending, one a row"):
        SignalSampling((FROM_NS + 1, FROM_NS + 2), (1, -1))
    with pytest.raises(InvalidRequest, match="each with a side"):
        SignalSampling((FROM_NS,), ())
    named = dataclasses.replace(
        REQUEST, targets=(ClassificationTarget(HORIZON * SECOND_NS, name="side"),), weighting=None
    )
    with pytest.raises(InvalidRequest, match="target names: must not be those of other columns, was side"):
        build_dataset(named, place, tmp_path / "named")


def test_the_api_takes_signals_and_meta_labels() -> None:
    asked = BuildRequest.model_validate(
        {
            "symbol": SYMBOL,
            "train_period_start": format_iso(START_NS),
            "train_period_end": format_iso(START_NS + 3 * MINUTE_NS),
            "validation_period_start": format_iso(START_NS + 3 * MINUTE_NS),
            "validation_period_end": format_iso(START_NS + 4 * MINUTE_NS),
            "test_period_start": format_iso(START_NS + 4 * MINUTE_NS),
            "test_period_end": format_iso(START_NS + 5 * MINUTE_NS),
            "target_config": {"type": "meta_label", "horizon": "10s", "upper": 0.002, "lower": 0.001},
            "sampling": {"by": "signals", "signals": [{"timestamp": format_iso(FROM_NS), "side": -1}]},
        }
    ).to_request("1.0.0")
    assert asked.sampling == SignalSampling((FROM_NS,), (-1,))
    assert asked.targets == (MetaLabelTarget(10 * SECOND_NS, name="target", upper=0.002, lower=0.001),)
    assert math.isclose(asked.targets[0].upper, 0.002)
