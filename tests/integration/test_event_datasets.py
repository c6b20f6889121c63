"""Rows that are sampled by what happens: each event is one of the definition, found by the row that first knew it."""

from __future__ import annotations

import dataclasses
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLog
from tests.build_places import UNGATED, place_in
from tests.simulated import kernel_of, play_market
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.verification import verify_dataset
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest, request_document
from training_sets.request.sampling import BarSampling, BarUnit, CusumSampling, Sampling
from training_sets.request.targets import RegressionTarget

START_NS = parse_iso_ns("2026-01-05T12:00:00")
FROM_NS = START_NS + 20 * SECOND_NS
DURATION_NS = 4 * MINUTE_NS
SYMBOL = "BTCUSDT"
Trade = tuple[int, Decimal, Decimal]
REQUEST = DatasetRequest(
    symbols=(SYMBOL,),
    strategy=TimeBased(default_periods(FROM_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(5 * SECOND_NS),),
    registry_version="1.0.0",
    purge=False,
    check_leakage=False,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("events")
    play_market(folder, kernel_of("1.0.0", kernel_cache), seed=5, start_ns=START_NS, duration_ns=DURATION_NS)
    return folder


@pytest.fixture(scope="module")
def place(folder: Path, kernel_cache: Path) -> BuildPlace:
    return place_in(folder, kernel_cache, rules=UNGATED)


def sampled_ns(built: Dataset) -> list[int]:
    times = [pq.read_table(built.path / f"{name}.parquet") for name in ("train", "validation", "test")]
    return [int(time) for table in times for time in table.column("timestamp").to_pandas().astype("int64")]


def built_by(sampling: Sampling, place: BuildPlace, folder: Path, **changes: object) -> Dataset:
    return build_dataset(dataclasses.replace(REQUEST, sampling=sampling, **changes), place, folder)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trades() -> list[Trade]:
    """Time of receipt, price and quantity of each trade, from the messages."""
    found = []
    for message in simulate(DEFAULT_SYMBOLS[:1], seed=5, start_ns=START_NS, duration_ns=DURATION_NS):
        document = json.loads(message.body)
        if str(document.get("topic")) == f"publicTrade.{SYMBOL}":
            found += [(message.recv_ns, Decimal(trade["p"]), Decimal(trade["v"])) for trade in document["data"]]
    return found


@pytest.mark.parametrize("unit", ["tick", "volume", "dollar"])
def test_bars_are_those_of_a_plain_walk_over_the_trades(
    place: BuildPlace, trades: list[Trade], tmp_path: Path, unit: BarUnit
) -> None:
    found = [each for each in trades if FROM_NS <= each[0] < START_NS + DURATION_NS]
    amounts = {
        "tick": [Decimal(1)] * len(found),
        "volume": [quantity for _, _, quantity in found],
        "dollar": [price * quantity for _, price, quantity in found],
    }[unit]
    total = sum(amounts, Decimal(0))
    size = max(float(round(total / 60, 3)), 1e-3)
    ends, filled = set(), Decimal(0)
    for (recv_ns, _, _), amount in zip(found, amounts, strict=True):
        filled += amount
        if filled >= Decimal(repr(size)):
            filled = Decimal(0)
            ends.add(recv_ns // SECOND_NS * SECOND_NS + SECOND_NS)
    built = built_by(BarSampling(unit, size), place, tmp_path / "dataset")
    # The last rows have no price five seconds later.
    expected = sorted(end for end in ends if end < START_NS + DURATION_NS)
    assert len(expected) > 20
    assert sampled_ns(built) == [end for end in expected if end + 6 * SECOND_NS < START_NS + DURATION_NS]
    assert built.manifest["samples"]["events"] == built.manifest["rows_sampled"] == len(expected)


def test_cusum_samples_where_the_mids_have_moved_by_the_threshold(place: BuildPlace, tmp_path: Path) -> None:
    kernel = load_registry_version("1.0.0").feature_set
    rows, _ = FeatureLog(place.features.folder).read(SYMBOL, kernel, from_ns=None, to_ns=None)
    mids = dict(zip(rows.row_ns.tolist(), rows.values[:, kernel.columns.index("mid_price")].tolist(), strict=True))
    logs = [math.log(mids[at]) for at in range(FROM_NS, START_NS + DURATION_NS, SECOND_NS)]
    threshold = 3.0 * float(np.std(np.diff(logs)))
    events: list[int] = []
    up, down = 0.0, 0.0
    for at in range(1, len(logs)):
        up, down = max(0.0, up + logs[at] - logs[at - 1]), min(0.0, down + logs[at] - logs[at - 1])
        if down < -threshold:
            events, down = [*events, at], 0.0
        elif up > threshold:
            events, up = [*events, at], 0.0
    built = built_by(CusumSampling(threshold), place, tmp_path / "dataset")
    last_ns = START_NS + DURATION_NS - 6 * SECOND_NS
    expected = [FROM_NS + at * SECOND_NS for at in events]
    assert len(expected) > 10
    assert sampled_ns(built) == [time_ns for time_ns in expected if time_ns < last_ns]


def test_events_scaled_by_volatility_pass_every_check_and_are_found_again(place: BuildPlace, tmp_path: Path) -> None:
    built = built_by(CusumSampling(2.0, 30 * SECOND_NS), place, tmp_path / "dataset", check_leakage=True, purge=True)
    assert built.manifest["leakage"]["rows_rebuilt_from_their_past"] > 10
    assert built.manifest["request"]["sampling"] == {
        "by": "cusum",
        "threshold": 2.0,
        "volatility_window_ns": 30 * SECOND_NS,
    }
    (tmp_path / "again").mkdir()
    assert verify_dataset(built.path, place, tmp_path / "again").is_exact
    frame = pd.read_parquet(built.path / "train.parquet")
    assert (frame["timestamp"].diff().dropna() > pd.Timedelta(0)).all()


def test_what_finds_nothing_or_cannot_be_is_refused(place: BuildPlace, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="sampling: must find 1 to 1000000 events in the periods, was none"):
        built_by(CusumSampling(5.0), place, tmp_path / "nothing")
    for changes in ({"sample_interval_ns": 3 * SECOND_NS}, {"symbols": ("A", "B")}, {"sample_kind": "at_time"}):
        with pytest.raises(InvalidRequest, match="sampling: must be of one symbol, on_row, without an interval"):
            dataclasses.replace(REQUEST, sampling=BarSampling("tick", 5.0), **changes)
    with pytest.raises(InvalidRequest, match=r"sampling\.volatility_window: must be two or more steps"):
        built_by(CusumSampling(1.0, SECOND_NS), place, tmp_path / "window")
    with pytest.raises(InvalidRequest, match=r"sampling\.size: must be positive"):
        BarSampling("dollar", 0.0)
    assert "sampling" not in request_document(REQUEST)
