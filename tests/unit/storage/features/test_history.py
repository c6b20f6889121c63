"""History: what the log holds of a period, day by day, as it is known now or was known then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from market.clock import DAY_NS, SECOND_NS
from market.errors import InvalidRequest, NotFound
from storage.features.history import History, groups_with
from storage.features.log import FeatureLog, FeatureLogWriter
from training_sets.dataset.files import write_batches
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import NO_DATA, OK

MIDNIGHT_NS = 20_000 * DAY_NS
PRICE = FeatureGroup("price", "aaaa", ("mid", "spread"), (2, 0))
FLOW = FeatureGroup("orderflow", "bbbb", ("vwap",), (1,))
BOTH = FeatureSet("2.0.0", ("spread", "vwap", "mid"), (PRICE, FLOW), "cccc")
MID_ONLY = FeatureSet("1.0.0", ("mid",), (FeatureGroup("price", "aaaa", ("mid",), (0,)),), "dddd")


def write(
    root: Path, seconds: list[int], value: float, *, available_s: int, chosen: FeatureSet = BOTH, status: int = OK
) -> None:
    row_ns = MIDNIGHT_NS + np.array(seconds, np.int64) * SECOND_NS
    values = np.full((len(row_ns), len(chosen.columns)), value) + np.arange(len(chosen.columns)) / 10
    statuses = np.full((len(row_ns), len(chosen.groups)), status, np.int8)
    with FeatureLogWriter(root) as writer:
        writer.append(FeatureRows("BTCUSDT", chosen, row_ns, values, statuses), row_ns + available_s * SECOND_NS)


def asked(
    root: Path, features: list[str] | None, *, begin: int = -10, end: int = 10, as_of: int | None = None
) -> History:
    return History(
        FeatureLog(root),
        "BTCUSDT",
        groups_with(BOTH, features),
        MIDNIGHT_NS + begin * SECOND_NS,
        MIDNIGHT_NS + end * SECOND_NS,
        None if as_of is None else MIDNIGHT_NS + as_of * SECOND_NS,
    )


def seconds_of(history: History) -> list[list[int]]:
    """Seconds from midnight, a list a batch."""
    return [
        ((batch["timestamp"].cast(pa.int64()).to_numpy() - MIDNIGHT_NS) // SECOND_NS).tolist()
        for batch in history.batches()
    ]


def test_a_period_comes_day_by_day_with_the_features_in_the_order_asked(tmp_path: Path) -> None:
    write(tmp_path, [-2, -1, 0, 1], 1.0, available_s=1)
    history = asked(tmp_path, ["orderflow:vwap", "spread", "mid"], begin=-1, end=1)
    assert seconds_of(history) == [[-1], [0]]
    told = ["price:status", "orderflow:status"]
    assert history.schema.names == ["symbol", "timestamp", "available", "vwap", "spread", "mid", *told]
    [first, _] = history.batches()
    assert first.schema == history.schema
    row = first.to_pylist()[0]
    assert (row["symbol"], row["vwap"], row["spread"], row["mid"]) == ("BTCUSDT", 1.1, 1.0, 1.2)
    assert (row["available"] - row["timestamp"]).total_seconds() == 1


def test_what_was_not_readable_then_is_left_out_and_an_earlier_row_of_the_same_time_answers(tmp_path: Path) -> None:
    write(tmp_path, [0, 1], 1.0, available_s=1)
    write(tmp_path, [0], 5.0, available_s=9)

    def spread(as_of: int | None) -> list[float | None]:
        history = asked(tmp_path, ["spread"], as_of=as_of)
        return [value for batch in history.batches() for value in batch["spread"].to_pylist()]

    assert spread(None) == [5.0, 1.0]
    assert spread(9) == [5.0, 1.0]
    assert spread(8) == [1.0, 1.0]
    assert spread(1) == [1.0]
    assert spread(0) == []


def test_a_feature_that_a_part_or_a_group_that_a_time_has_not_is_nan(tmp_path: Path) -> None:
    write(tmp_path, [0, 1], 1.0, available_s=1, chosen=MID_ONLY)
    write(tmp_path, [1, 2], 2.0, available_s=1)
    [batch] = asked(tmp_path, ["mid", "vwap", "spread"]).batches()
    assert [str(value) for value in batch["mid"].to_pylist()] == ["1.0", "2.2", "2.2"]
    assert [str(value) for value in batch["vwap"].to_pylist()] == ["nan", "2.1", "2.1"]
    assert [str(value) for value in batch["spread"].to_pylist()] == ["nan", "2.0", "2.0"]
    assert batch["spread"].null_count == 0


def test_the_status_of_each_group_stands_beside_its_values_and_is_null_where_it_has_no_row(tmp_path: Path) -> None:
    write(tmp_path, [0, 1], 0.0, available_s=1, chosen=MID_ONLY, status=NO_DATA)
    write(tmp_path, [1, 2], 2.0, available_s=1)
    history = asked(tmp_path, ["vwap", "mid"])
    [batch] = history.batches()
    assert batch["mid"].to_pylist()[0] == 0.0
    assert batch["price:status"].to_pylist() == ["NO_DATA", "OK", "OK"]
    assert batch["orderflow:status"].to_pylist() == [None, "OK", "OK"]
    path = tmp_path / "history.csv"
    write_batches(path, history.schema, history.batches())
    assert [line.rpartition(",")[0].rpartition(",")[2] for line in path.read_text().splitlines()[1:]] == [
        '"NO_DATA"',
        '"OK"',
        '"OK"',
    ]


def test_what_cannot_be_asked_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="feature log of BTCUSDT"):
        asked(tmp_path, ["mid"])
    write(tmp_path, [0], 1.0, available_s=1)
    with pytest.raises(InvalidRequest, match=r"period: must begin before it ends, was 20\d\d-.*Z to 20"):
        asked(tmp_path, ["mid"], begin=1, end=1)
    for name in ("nothing", "orderflow:mid", "price:"):
        with pytest.raises(InvalidRequest, match=f"features: must be of registry version 2.0.0, was '{name}'"):
            asked(tmp_path, [name])
    with pytest.raises(InvalidRequest, match="each feature once"):
        asked(tmp_path, ["mid", "price:mid"])
    with pytest.raises(InvalidRequest, match="features: must be one name at least, was none"):
        asked(tmp_path, [])
    assert asked(tmp_path, None).columns == ["spread", "vwap", "mid"]
