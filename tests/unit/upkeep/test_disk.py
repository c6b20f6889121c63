"""Full disks: a warning, then caches go, then ingest ends between two messages and waits for room."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ingestion.worker.disk_room import ASK_EVERY_S, LEAST_FREE_BYTES, DiskRoom
from market.errors import StoreUnavailable
from storage.disk import DiskUse, disk_use
from upkeep.disk import watch_disks

GIB = 1 << 30


class Disk:
    def __init__(self, percent: float, *, size: int = 1000 * GIB) -> None:
        self.percent = percent
        self.size = size
        self.asked = 0
        self.seconds = 0.0

    def __call__(self, _folder: Path) -> DiskUse:
        self.asked += 1
        used = int(self.size * self.percent / 100)
        return DiskUse(1, used, self.size - used)

    def room(self, folder: Path) -> DiskRoom:
        return DiskRoom([folder], stop_percent=98, measure=self, timer=lambda: self.seconds, wait_s=0.01)


def test_the_use_of_a_disk_is_that_of_df_also_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = disk_use(tmp_path / "not" / "yet")
    assert found.device == tmp_path.stat().st_dev
    assert 0 < found.percent < 100
    assert found.percent == pytest.approx(100 * found.used / (found.used + found.free))
    assert DiskUse(1, 0, 0).percent == 100


def test_ingest_goes_on_below_the_limit_and_ends_aloud_at_it(tmp_path: Path) -> None:
    disk = Disk(97.9)
    room = disk.room(tmp_path)
    room.check()
    disk.percent = 98.0
    room.check()  # asked a moment ago
    disk.seconds += ASK_EVERY_S
    with pytest.raises(StoreUnavailable, match=r"must be used to less than 98 % for ingest to continue, was 98\.00 %"):
        room.check()
    assert disk.asked == 2


def test_a_small_disk_keeps_room_for_what_was_taken(tmp_path: Path) -> None:
    disk = Disk(90, size=10 * LEAST_FREE_BYTES - 1000)
    with pytest.raises(StoreUnavailable, match="must have 256 MiB free for ingest to continue, had 255 MiB"):
        disk.room(tmp_path).check()


def test_ingest_waits_for_room_before_it_begins_and_can_be_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    disk = Disk(99)
    stop = threading.Event()
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(disk.room(tmp_path).wait(stop)), daemon=True)
    thread.start()
    while disk.asked < 3:
        thread.join(0.01)
    disk.percent = 50
    thread.join(30)
    assert waited == [True]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "ingest waits for disk space",
        "ingest continues",
    ]
    disk.percent = 99
    stop.set()
    assert disk.room(tmp_path).wait(stop) is False


def test_a_disk_past_the_first_mark_is_a_warning_and_past_the_second_caches_go(tmp_path: Path) -> None:
    present = disk_use(tmp_path).percent
    removed: list[int] = []

    def remove() -> int:
        removed.append(1)
        return 3 * GIB

    def watch(warn: float, caches: float) -> dict[str, Any]:
        folders = {"raw": tmp_path, "cache": tmp_path / "cache"}
        return dict(
            watch_disks(
                folders, warn_percent=warn, caches_percent=caches, remove_caches=remove, reach=lambda _share: None
            )
        )

    calm = watch(100, 100)
    assert (calm["problems"], calm["freed_bytes"], removed) == ([], 0, [])
    (warned,) = watch(present / 2, 100)["problems"]
    assert warned.startswith("disk of raw, cache: must be used to less than")
    assert "FEATURE_SERVICE_RETENTION_DAYS" in warned
    assert removed == []
    full = watch(present / 2, present / 2)
    assert (len(removed), full["freed_bytes"]) == (1, 3 * GIB)
    assert len(full["problems"]) == 2
