"""Derived inputs against a plain walk over the log: differences of a fractional order, ranks among symbols."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.build_request import BuildRequest
from feature_client import Dataset
from feature_repo.registry_versions import load_registry_version
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, format_iso, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLogWriter
from tests.build_places import UNGATED, place_in
from tests.simulated import kernel_of, play_market
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.verification import verify_dataset
from training_sets.request.derived import CrossSectionalRank, FractionalDifference, Member
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T23:56:00")
FROM_NS = START_NS + 30 * SECOND_NS
DURATION_NS = 6 * MINUTE_NS
DELAY_NS = 50 * MILLISECOND_NS
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
FEATURES = load_registry_version("1.0.0").feature_set
COUNT = DURATION_NS // SECOND_NS + 90
OUT = range(150, 200)
"""Seconds in which ETHUSDT is no member."""
UNIVERSE = (
    Member("BTCUSDT", 0, 2**62),
    Member("ETHUSDT", 0, START_NS + OUT.start * SECOND_NS),
    Member("ETHUSDT", START_NS + OUT.stop * SECOND_NS, 2**62),
    Member("SOLUSDT", 0, 2**62),
)
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=TimeBased(default_periods(FROM_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(5 * SECOND_NS),),
    registry_version="1.0.0",
    read_delay_ns=DELAY_NS,
    check_leakage=False,  # the columns are drawn, not computed
    derived=(
        FractionalDifference("mid_price", 0.4, cut_off=0.01),
        FractionalDifference("spread_abs", 1.3, of="value", cut_off=0.02),
        CrossSectionalRank("spread_abs"),
        CrossSectionalRank("returns_3s", UNIVERSE),
    ),
)
NAMES = ["mid_price_fracdiff_0_4", "spread_abs_fracdiff_1_3", "spread_abs_rank", "returns_3s_rank"]

Log = dict[str, tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    """Rows over midnight that come at different moments, some too late for the others, some values unknown."""
    folder, draw = tmp_path_factory.mktemp("derived"), np.random.default_rng(4)
    log: Log = {}
    row_ns = START_NS + np.arange(COUNT) * SECOND_NS
    with FeatureLogWriter(folder / "features") as writer:
        for symbol in SYMBOLS:
            values = draw.integers(1, 6, (COUNT, len(FEATURES.columns))) / 8.0
            values[:, FEATURES.columns.index("mid_price")] = 100.0 * np.exp(
                np.cumsum(draw.standard_normal(COUNT) / 500)
            )
            spread = FEATURES.columns.index("spread_abs")
            values[draw.random(COUNT) < 0.01, spread] = np.nan
            lag_ns = draw.choice([10, 20, 55, 75, 300], COUNT) * MILLISECOND_NS
            lag_ns[draw.random(COUNT) < 0.01] = 2500 * MILLISECOND_NS
            status = np.zeros((COUNT, len(FEATURES.groups)), np.int8)
            writer.append(FeatureRows(symbol, FEATURES, row_ns, values, status), row_ns + lag_ns)
            log[symbol] = {name: values[:, at] for at, name in enumerate(FEATURES.columns)}, lag_ns
    return folder, log


def plain_difference(
    values: Sequence[float], lag_ns: np.ndarray[Any, Any], at: int, *, order: float, cut_off: float
) -> float:
    weight, total, age = 1.0, 0.0, 0
    while abs(weight) >= cut_off:
        if age > at or lag_ns[at - age] - age * SECOND_NS > lag_ns[at]:
            return math.nan
        total += weight * values[at - age]
        age += 1
        weight *= (age - 1 - order) / age
    return total


def plain_rank(log: Log, symbol: str, column: str, at: int, members: Sequence[str]) -> float:
    acts_ns = log[symbol][1][at] + DELAY_NS
    seen = {
        each: float(log[each][0][column][at])
        for each in members
        if log[each][1][at] <= acts_ns and not math.isnan(log[each][0][column][at])
    }
    if symbol not in seen or len(seen) < 2:
        return math.nan
    own = seen[symbol]
    others = [value for each, value in seen.items() if each != symbol]
    return (sum(value < own for value in others) + sum(value == own for value in others) / 2) / len(others)


def is_same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=0.0, abs_tol=1e-11)


def test_inputs_are_those_of_a_plain_walk(logged: tuple[Path, Log], tmp_path: Path, kernel_cache: Path) -> None:
    folder, log = logged
    built = build_dataset(REQUEST, place_in(folder, kernel_cache, rules=UNGATED), tmp_path / "dataset")
    dataset = Dataset.open(built.path)
    assert dataset.input_columns == NAMES
    assert not set(NAMES) & set(dataset.feature_columns)
    logarithms = {symbol: [math.log(value) for value in own["mid_price"]] for symbol, (own, _) in log.items()}
    ranks: set[float] = set()
    unknown = dict.fromkeys(NAMES, 0)
    rows = 0
    for split in ("train", "validation", "test"):
        inputs = dataset.inputs(split)
        symbols = inputs.index.get_level_values("symbol").tolist()
        numbers = (inputs.index.get_level_values("timestamp").astype("int64").to_numpy() - START_NS) // SECOND_NS
        for symbol, at, found in zip(symbols, numbers.tolist(), inputs.to_dict("records"), strict=True):
            own = log[symbol][0]
            members = [each for each in SYMBOLS if each != "ETHUSDT" or at not in OUT]
            expected = [
                plain_difference(logarithms[symbol], log[symbol][1], at, order=0.4, cut_off=0.01),
                plain_difference(own["spread_abs"].tolist(), log[symbol][1], at, order=1.3, cut_off=0.02),
                plain_rank(log, symbol, "spread_abs", at, SYMBOLS),
                plain_rank(log, symbol, "returns_3s", at, members),
            ]
            for name, wanted in zip(NAMES, expected, strict=True):
                assert is_same(found[name], wanted), (symbol, at, name, found[name], wanted)
                unknown[name] += math.isnan(wanted)
            ranks.add(found["returns_3s_rank"])
            rows += 1
    assert rows > 900
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= ranks
    assert all(0 < unknown[name] < rows / 2 for name in NAMES)


MARKET_NS = parse_iso_ns("2026-01-05T23:58:30")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> BuildPlace:
    folder = tmp_path_factory.mktemp("market")
    play_market(
        folder, kernel_of("1.0.0", kernel_cache), seed=3, start_ns=MARKET_NS, duration_ns=3 * MINUTE_NS, symbols=2
    )
    return place_in(folder, kernel_cache, rules=UNGATED)


CHECKED = dataclasses.replace(
    REQUEST,
    strategy=TimeBased(default_periods(MARKET_NS + 20 * SECOND_NS, MARKET_NS + 3 * MINUTE_NS)),
    symbols=SYMBOLS[:2],
    check_leakage=True,
    derived=(FractionalDifference("mid_price", 0.4, cut_off=0.02), CrossSectionalRank("spread_rel")),
)


def test_a_build_makes_them_again_of_the_past_alone_and_verifies(market: BuildPlace, tmp_path: Path) -> None:
    built = build_dataset(CHECKED, market, tmp_path / "dataset")
    leakage = built.manifest["leakage"]
    assert leakage["inputs_made_again"] == 2 * leakage["rows_drawn"] > 200
    assert verify_dataset(built.path, market, tmp_path / "again").is_exact


@pytest.mark.parametrize("name", ["mid_price_fracdiff_0_4", "spread_rel_rank"])
def test_an_input_of_the_next_row_fails_the_build_by_name(market: BuildPlace, tmp_path: Path, name: str) -> None:
    path = tmp_path / "dataset" / "train.parquet"

    def tamper(step: str) -> None:
        if step.startswith("checking"):
            table = pq.read_table(path, partitioning=None)
            values = table.column(name).to_numpy().copy()
            values[: len(values) // 4] = values[2 : len(values) // 4 + 2]
            pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(values)), path)

    with pytest.raises(InvalidRequest, match=f"leakage: .*{name}"):
        build_dataset(CHECKED, market, tmp_path / "dataset", on_step=tamper)


def test_what_cannot_be_made_is_refused(market: BuildPlace, tmp_path: Path) -> None:
    for derived, rule in (
        ((CrossSectionalRank("mid_price"), CrossSectionalRank("mid_price")), "each once"),
        ((CrossSectionalRank("mid_price", (Member("XRPUSDT", 0, 1),)),), "members of the request"),
        ((), "must be 1 to 64"),
    ):
        with pytest.raises(InvalidRequest, match=rule):
            dataclasses.replace(REQUEST, derived=derived)
    with pytest.raises(InvalidRequest, match="among two symbols or more"):
        dataclasses.replace(REQUEST, symbols=("BTCUSDT",))
    with pytest.raises(InvalidRequest, match="order of 0 to 2"):
        FractionalDifference("mid_price", 2.0)
    with pytest.raises(InvalidRequest, match="must look at 5000 rows or fewer"):
        FractionalDifference("mid_price", 0.1, cut_off=1e-6)
    unknown = dataclasses.replace(CHECKED, derived=(FractionalDifference("no_such", 0.5),))
    with pytest.raises(InvalidRequest, match=r"derived\.no_such: must be a feature of registry 1\.0\.0"):
        build_dataset(unknown, market, tmp_path / "dataset")


def test_the_api_takes_derived_inputs_and_refuses_fields_of_the_other() -> None:
    split = {
        f"{name}_period_{side}": format_iso(START_NS + minute * MINUTE_NS)
        for name, minutes in (("train", (0, 3)), ("validation", (3, 4)), ("test", (4, 5)))
        for side, minute in zip(("start", "end"), minutes, strict=True)
    }
    body = {**split, "symbols": list(SYMBOLS), "target_config": {"horizon": "10s"}}
    member = {"symbol": "BTCUSDT", "start": format_iso(START_NS), "end": format_iso(START_NS + SECOND_NS)}
    derived = [
        {"make": "fractional_difference", "column": "mid_price", "order": 0.4, "of": "value"},
        {"make": "rank", "column": "spread_abs", "universe": [member]},
    ]
    asked = BuildRequest.model_validate({**body, "derived": derived}).to_request("1.0.0")
    assert asked.derived == (
        FractionalDifference("mid_price", 0.4, of="value"),
        CrossSectionalRank("spread_abs", (Member("BTCUSDT", START_NS, START_NS + SECOND_NS),)),
    )
    for wrong in ({"make": "rank", "column": "a", "order": 0.4}, {"make": "fractional_difference", "column": "a"}):
        with pytest.raises(InvalidRequest, match=r"derived\.order"):
            BuildRequest.model_validate({**body, "derived": [wrong]}).to_request("1.0.0")
