"""Retention by itself: what is past its time goes, but for what a dataset or a kept row needs, which is told."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.tape.compaction import compact_tape
from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, utc_date
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.places import local
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.manifest import write_manifest
from training_sets.request.folds import Period, TimeBased
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows
from upkeep.retention import RetiredStores, retire_expired

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS
DAYS = 6
NOON_NS = MIDNIGHT_NS + DAYS * DAY_NS + 12 * HOUR_NS


def book(update_id: int, at_ns: int, *, kind: str) -> bytes:
    levels = {"s": SYMBOL, "b": [["60000.5", "1"]], "a": [["60001", "2"]], "u": update_id, "seq": update_id * 7}
    topic = f"orderbook.50.{SYMBOL}"
    return json.dumps({"topic": topic, "type": kind, "ts": at_ns // MILLISECOND_NS, "data": levels}).encode()


def filled(root: Path, *, snapshots: set[int], archive: Path | None = None) -> RetiredStores:
    """A message and a row at the begin of each of six days; of the days given the message is a snapshot."""
    stores = RetiredStores(
        raw=RawData(root / "raw"),
        features=FeatureLog(root / "features"),
        datasets=Datasets(root / "datasets"),
        archive=archive,
    )
    InstrumentPins(stores.raw.folder).pin(SYMBOL, "60000.5")
    chosen = load_registry_version("1.0.0").feature_set
    with TapeWriter(stores.raw.folder, SYMBOL) as writer, FeatureLogWriter(stores.features.folder) as log:
        for day in range(DAYS + 1):
            at_ns = MIDNIGHT_NS + day * DAY_NS
            writer.append(at_ns, book(day + 2, at_ns, kind="snapshot" if day in snapshots else "delta"))
            values, status = np.ones((1, len(chosen.columns))), np.zeros((1, len(chosen.groups)), np.int8)
            log.append(FeatureRows(SYMBOL, chosen, np.array([at_ns]), values, status), np.array([at_ns + 1]))
    compact_tape(stores.raw.folder, SYMBOL, InstrumentPins(stores.raw.folder))
    return stores


def dataset(stores: RetiredStores, name: str, first_day: int, last_day: int) -> None:
    """The manifest of a dataset that begins at one o'clock of the first day and ends at four of the last."""
    hours = [MIDNIGHT_NS + first_day * DAY_NS + HOUR_NS]
    hours += [MIDNIGHT_NS + last_day * DAY_NS + hour * HOUR_NS for hour in (2, 3, 4)]
    names = ("train", "validation", "test")
    request = DatasetRequest(
        symbols=(SYMBOL,),
        strategy=TimeBased(tuple(Period(name, *span) for name, span in zip(names, pairwise(hours), strict=True))),
        targets=(RegressionTarget(horizon_ns=MINUTE_NS),),
        registry_version="1.0.0",
    )
    folder = local(stores.datasets.path(name))
    folder.mkdir(parents=True)
    manifest = {"request": msgspec.to_builtins(request), "raw_partitions": [], "feature_partitions": []}
    write_manifest(folder, manifest)


def raw_days(stores: RetiredStores) -> list[int]:
    return [(part.last_ns - MIDNIGHT_NS) // DAY_NS for part in stores.raw.parts(SYMBOL)]


def feature_days(stores: RetiredStores) -> list[int]:
    dates = {path.name.removeprefix("date=") for path in stores.features.folder.glob("*/*/*/date=*")}
    return [day for day in range(DAYS + 1) if utc_date(MIDNIGHT_NS + day * DAY_NS) in dates]


def retire(stores: RetiredStores, *, days: int, shares: list[float] | None = None) -> dict[str, object]:
    told = shares if shares is not None else []
    return dict(retire_expired(stores, before_ns=NOON_NS - days * DAY_NS, horizon_ns=DAY_NS, reach=told.append))


def test_features_go_by_their_age_and_raw_data_a_horizon_later(tmp_path: Path) -> None:
    stores = filled(tmp_path, snapshots=set(range(DAYS + 1)))
    shares: list[float] = []
    done = retire(stores, days=2, shares=shares)
    # Noon two days ago: the rows of the fourth day are kept, and its first one sees the whole day before.
    assert feature_days(stores) == [4, 5, 6]
    assert raw_days(stores) == [3, 4, 5, 6]
    assert (done["parts"], done["feature_days"], done["problems"], done["archive"]) == (3, 4, [], None)
    assert shares == sorted(shares)
    assert retire(stores, days=2)["parts"] == 0


def test_raw_data_stays_back_to_the_last_snapshot_that_kept_rows_go_on_from(tmp_path: Path) -> None:
    stores = filled(tmp_path, snapshots={0, 2})
    retire(stores, days=2)
    assert feature_days(stores) == [4, 5, 6]
    assert raw_days(stores) == [2, 3, 4, 5, 6]


def test_what_a_dataset_is_made_of_stays_and_is_named(tmp_path: Path) -> None:
    stores = filled(tmp_path, snapshots=set(range(DAYS + 1)))
    dataset(stores, "d17", 2, 2)
    done = retire(stores, days=2)
    # Its day, the horizon before it that its first row sees, and what its labels may reach into.
    assert raw_days(stores) == [1, 2, 3, 4, 5, 6]
    assert feature_days(stores) == [1, 2, 3, 4, 5, 6]
    problems = done["problems"]
    assert isinstance(problems, list)
    assert problems[0] == (
        f"{SYMBOL} {utc_date(MIDNIGHT_NS + DAY_NS)}: kept, although it has expired, datasets use it: d17"
    )
    assert len(problems) == 3


@pytest.mark.parametrize("has_dataset", [False, True])
def test_with_an_archive_everything_is_moved_there_and_what_datasets_are_made_of_is_named(
    tmp_path: Path, *, has_dataset: bool
) -> None:
    stores = filled(tmp_path, snapshots=set(range(DAYS + 1)), archive=tmp_path / "archive")
    if has_dataset:
        dataset(stores, "d17", 2, 2)
    done = retire(stores, days=2)
    assert raw_days(stores) == [3, 4, 5, 6]
    assert len(RawData(tmp_path / "archive").parts(SYMBOL)) == 3
    problems = done["problems"]
    assert isinstance(problems, list)
    assert [problem.partition(": ")[2] for problem in problems] == [
        "archived, datasets use it: d17" for _ in range(3 * has_dataset)
    ]
