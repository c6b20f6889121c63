"""Garbage: what nobody uses and nobody touched goes; what is served, built or in use stays."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from market.clock import DAY_NS, HOUR_NS
from market.errors import NotFound
from storage.database.dataset_records import DatasetRecord, DatasetStatus
from storage.database.metadata import Metadata
from upkeep.garbage import Found, GarbageFolders, remove_caches, remove_garbage

NOW_NS = 20_000 * DAY_NS


class Datasets:
    """``alive`` is in its second attempt, ``done`` is ready."""

    def __init__(self, *, is_building: bool = True) -> None:
        self._is_building = is_building

    def get_dataset(self, dataset_id: str) -> DatasetRecord:
        statuses: dict[str, DatasetStatus] = {"alive": "building", "done": "ready"}
        if dataset_id not in statuses:
            raise NotFound(f"dataset: must exist, was {dataset_id!r}")
        at = datetime(2026, 1, 5, tzinfo=UTC)
        return DatasetRecord(
            dataset_id=dataset_id,
            symbols=("BTCUSDT",),
            request={},
            feature_registry_version="1.0.0",
            feature_set="f",
            created_at=at,
            updated_at=at,
            status=statuses[dataset_id],
            attempt=2,
        )

    def list_datasets(self, *, status: str, limit: int) -> list[DatasetRecord]:
        return [self.get_dataset("alive")][:limit] if status == "building" and self._is_building else []


def metadata(*, is_building: bool = True) -> Metadata:
    return cast("Metadata", Datasets(is_building=is_building))


def put(path: Path, *, age_ns: int) -> Path:
    """A file of ten bytes that nobody touched since, nor its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0123456789")
    for each in (path, path.parent):
        os.utime(each, ns=(NOW_NS - age_ns, NOW_NS - age_ns))
    return path


def folders(root: Path) -> GarbageFolders:
    return GarbageFolders(attempts=root / "datasets", features=root / "features", kernels=root / "kernels")


def in_use(root: Path) -> Found:
    return Found(kernels=frozenset({root / "kernels" / "used"}), code=frozenset({"price/now"}))


def test_what_nobody_goes_on_with_goes_and_the_rest_stays(tmp_path: Path) -> None:
    datasets, features, kernels = tmp_path / "datasets", tmp_path / "features", tmp_path / "kernels"
    day = "symbol=BTCUSDT/date=2026-01-05"
    gone = [
        put(datasets / ".alive-1" / "train.parquet", age_ns=2 * HOUR_NS),
        put(datasets / ".done-2" / "train.parquet", age_ns=2 * HOUR_NS),
        put(datasets / ".verify-x" / "train.parquet", age_ns=2 * HOUR_NS),
        put(kernels / "unused" / "kernel.py", age_ns=8 * DAY_NS),
        put(features / "price" / "before" / day / "rebuilt-1-2-a.parquet", age_ns=8 * DAY_NS),
        put(features / "price" / "before" / day / ".sampled-a-b", age_ns=8 * DAY_NS),
        put(features / "price" / "now" / day / ".part-1-2.parquet.host-1-2", age_ns=2 * DAY_NS),
    ]
    kept = [
        put(datasets / ".alive-2" / "train.parquet", age_ns=2 * HOUR_NS),
        put(datasets / ".gone-1" / "train.parquet", age_ns=HOUR_NS // 2),
        put(datasets / "done" / "train.parquet", age_ns=900 * DAY_NS),
        put(kernels / "used" / "kernel.py", age_ns=900 * DAY_NS),
        put(kernels / "new" / "kernel.py", age_ns=DAY_NS),
        put(features / "price" / "before" / day / "part-1-2.parquet", age_ns=8 * DAY_NS),
        put(features / "price" / "before" / day / "rebuilt-3-4-a.parquet", age_ns=DAY_NS),
        put(features / "price" / "now" / day / "rebuilt-1-2-a.parquet", age_ns=900 * DAY_NS),
        put(features / "price" / "now" / day / ".sampled-a-b", age_ns=900 * DAY_NS),
        put(features / "price" / "now" / day / ".part-3-4.parquet.host-1-2", age_ns=HOUR_NS),
    ]
    shares: list[float] = []
    done = remove_garbage(folders(tmp_path), metadata(), lambda: in_use(tmp_path), now_ns=NOW_NS, reach=shares.append)
    counts = {"dead_builds": 3, "kernels": 1, "computed_days": 2, "staged_files": 1, "unnamed_objects": 0}
    assert done == {**counts, "bytes": 70, "problems": []}
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert shares == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_for_a_full_disk_everything_that_can_be_computed_again_goes_unless_a_dataset_is_built_of_it(
    tmp_path: Path,
) -> None:
    day = tmp_path / "features" / "price" / "now" / "symbol=BTCUSDT" / "date=2026-01-05"
    served, rebuilt = put(day / "part-1-2.parquet", age_ns=0), put(day / "rebuilt-1-2-a.parquet", age_ns=0)
    used = put(tmp_path / "kernels" / "used" / "kernel.py", age_ns=0)
    unused = put(tmp_path / "kernels" / "new" / "kernel.py", age_ns=0)
    assert remove_caches(folders(tmp_path), metadata(), lambda: in_use(tmp_path)) == 10
    assert (unused.exists(), rebuilt.exists()) == (False, True)
    assert remove_caches(folders(tmp_path), metadata(is_building=False), lambda: in_use(tmp_path)) == 10
    assert (used.exists(), served.exists(), rebuilt.exists()) == (True, True, False)


def test_a_folder_that_stays_is_a_problem_and_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = put(tmp_path / "kernels" / "unused" / "kernel.py", age_ns=8 * DAY_NS)
    monkeypatch.setattr(shutil, "rmtree", lambda *_of, **_how: None)
    done = remove_garbage(
        folders(tmp_path), metadata(), lambda: in_use(tmp_path), now_ns=NOW_NS, reach=lambda _share: None
    )
    assert (done["kernels"], done["bytes"], done["problems"]) == (0, 0, [f"{kernel.parent}: cannot be removed"])
    assert remove_caches(folders(tmp_path), metadata(), lambda: in_use(tmp_path)) == 0
