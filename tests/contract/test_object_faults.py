"""An object store that fails: nothing lost, nothing doubled, damage is told, and what never answers is given up."""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.bybit.archive import Archive
from market.errors import Conflict, CorruptStore, NotFound, StoreUnavailable
from storage.durable_files import known_sha256, remove_files, replace_file, stage_file
from storage.objects.bucket import Bucket, Patience, bucket
from storage.objects.files import publish_objects
from storage.objects.lease import leased
from storage.objects.names import NAMES, change_names, read_names
from storage.objects.path import ObjectPath
from storage.parquet_files import opened_parquet
from storage.places import matching
from tests.s3_server import BUCKET, FAULTS, SECRET, Fault, FaultProxy, new_object_place
from tests.waiting import eventually

MEANINGLESS = (("swallow", "GET"), ("cut", "PUT"))


def write(path: ObjectPath, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))


def contents(place: ObjectPath) -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in matching(place / "day", "*")}


@pytest.mark.parametrize("within", [NAMES, "new."])
@pytest.mark.parametrize(
    ("fault", "method"),
    # What answers a PUT has no body that could break off, and a GET is not acknowledged.
    [(fault, method) for fault in FAULTS for method in ("GET", "PUT") if (fault, method) not in MEANINGLESS],
)
def test_a_write_that_meets_a_fault_is_made_once(s3: FaultProxy, fault: Fault, method: str, within: str) -> None:
    place = new_object_place()
    write(place / "day" / "old", "old")
    for times in (1, 2):
        s3.fail(fault, method, within, times=times)
        write(place / "day" / "new.txt", f"new {times}")
        assert contents(place) == {"old": "old", "new.txt": f"new {times}"}
        assert s3.is_done
    tokens = read_names(place.bucket, (place / "day").key)[0].tokens
    assert len(tokens) == len({*tokens}) == 4  # made, and three writes


@pytest.mark.parametrize("fault", FAULTS)
def test_a_removal_that_meets_a_fault_takes_that_file_alone(s3: FaultProxy, fault: Fault) -> None:
    place = new_object_place()
    write(place / "day" / "one", "1")
    write(place / "day" / "two", "2")
    s3.fail(fault, "PUT", NAMES)
    remove_files([place / "day" / "one"])
    assert (contents(place), s3.is_done) == ({"two": "2"}, True)


@pytest.mark.parametrize("fault", ["refuse", "cut", "lose_answer"])
def test_parquet_is_read_whole_through_faults(s3: FaultProxy, fault: Fault) -> None:
    place = new_object_place()
    table = pa.table({"seq": np.arange(50_000).tolist()})
    replace_file(place / "part.parquet", lambda file: pq.write_table(table, file, row_group_size=10_000))
    s3.fail(fault, "GET", "part.", times=2)
    s3.fail(fault if fault != "cut" else "refuse", "HEAD", "part.")
    with opened_parquet(place / "part.parquet") as file:
        assert file.read() == table
    assert s3.is_done


def test_what_was_never_named_is_not_seen_and_what_is_named_is_not_overwritten(s3: FaultProxy, tmp_path: Path) -> None:
    place = new_object_place()
    write(place / "day" / "one.txt", "first")
    [key] = [file.key for file in read_names(place.bucket, (place / "day").key)[0].files.values()]
    (tmp_path / "other").write_text("second")
    puts = s3.requests["PUT"]
    # As a writer that dies between its upload and its folder's change.
    s3.fail("refuse", "PUT", NAMES, times=place.bucket.patience.attempts)
    with pytest.raises(StoreUnavailable, match=f"{NAMES}: no answer in 9 attempts"):
        publish_objects({place / "day" / "one.txt": tmp_path / "other"})
    assert s3.requests["PUT"] > puts + 1
    assert contents(place) == {"one.txt": "first"}
    assert place.bucket.get(key)[0] == b"first"
    publish_objects({place / "day" / "one.txt": tmp_path / "other"})
    assert contents(place) == {"one.txt": "second"}
    with pytest.raises(FileNotFoundError):
        place.bucket.get(key)


def test_a_store_that_is_away_is_told_after_a_bounded_time_without_the_key(s3: FaultProxy) -> None:
    place, waited = new_object_place(), list[float]()
    impatient = Bucket(BUCKET, Patience(attempts=4, first_s=1.0, most_s=3.0, sleep=waited.append))
    s3.fail("refuse", "GET", NAMES, times=4)
    with pytest.raises(StoreUnavailable, match="no answer in 4 attempts") as caught:
        read_names(impatient, place.key)
    assert (SECRET in str(caught.value), s3.is_done) == (False, True)
    assert [0 <= wait <= most for wait, most in zip(waited, (1.0, 2.0, 3.0), strict=True)] == [True] * 3


def test_a_store_that_writes_over_what_it_must_not_is_refused(s3: FaultProxy) -> None:
    place = new_object_place()
    s3.drops_conditions = True
    with pytest.raises(StoreUnavailable, match="must refuse what If-None-Match and If-Match forbid, was written"):
        (place / "below").prepare()


def test_a_top_that_nobody_prepared_takes_no_file(s3: FaultProxy) -> None:  # must be there
    with pytest.raises(StoreUnavailable, match="must have been prepared as the top of a store, was not"):
        write(ObjectPath(f"s3://{BUCKET}/unprepared/place/file"), "text")


def test_damage_is_told_from_absence(s3: FaultProxy) -> None:  # must be there
    place = new_object_place()
    write(place / "day" / "one", "1")
    day = place / "day"
    names, _ = read_names(place.bucket, day.key)
    place.bucket.put(names.files["one"].key, b"2")
    with pytest.raises(CorruptStore, match="must have the 1 bytes and checksum of its folder, was other bytes"):
        (day / "one").read_bytes()
    place.bucket.delete(names.files["one"].key)
    with pytest.raises(CorruptStore, match="must be there, as its folder says, was gone"):
        (day / "one").read_bytes()
    with pytest.raises(CorruptStore, match="must be whole Parquet"), opened_parquet(day / "one"):
        pass
    content, _ = place.bucket.get(f"{day.key}/{NAMES}")
    place.bucket.put(f"{day.key}/{NAMES}", content.replace(b"one", b"two"))
    with pytest.raises(CorruptStore, match="must have the checksum of its names"):
        list(day.iterdir())
    place.bucket.put(f"{day.key}/{NAMES}", content[:-9])
    with pytest.raises(CorruptStore, match="must be the names of a folder"):
        list(day.iterdir())
    place.bucket.delete(f"{day.key}/{NAMES}")
    with pytest.raises(CorruptStore, match="must have its names, as the folder above says, was without"):
        list(day.iterdir())


def test_a_change_that_another_undid_is_not_made_again(s3: FaultProxy) -> None:
    place = new_object_place()
    write(place / "day" / "one", "1")
    names, _ = read_names(place.bucket, (place / "day").key)
    asked = []

    def add(now: object) -> object:
        asked.append(now)
        return type(names)({**names.files, "two": names.files["one"]}, names.folders)

    class Meddled(Bucket):
        """Another writer takes out what was named, before the one who named it looks."""

        def swap(self, key: str, content: bytes, etag: str | None) -> bool:
            is_made = super().swap(key, content, etag)
            change_names(place.bucket, (place / "day").key, lambda now: type(now)(names.files, now.folders))
            return is_made

    change_names(Meddled(BUCKET), (place / "day").key, add)  # type: ignore[arg-type]
    assert (len(asked), contents(place), s3.is_done) == (1, {"one": "1"}, True)


def test_a_lease_of_a_holder_that_died_is_taken_over_and_a_living_one_is_not(
    s3: FaultProxy,  # must be there
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = new_object_place()
    lock, is_over = place / ".lock", threading.Event()

    def holding() -> None:
        with leased(lock, lease_s=0.6):
            is_over.wait(20)

    thread = threading.Thread(target=holding)
    thread.start()
    eventually(lambda: _is_held(lock), deadline_s=20)
    looks = iter(range(12))  # seven seconds; the holder beats every tenth of one, if the machine lets it
    with pytest.raises(Conflict), leased(lock, lease_s=4.0, gives_up=lambda: next(looks, None) is None):
        pass
    # Who sleeps through it learns of that, and leaves the new holder's lease alone.
    with caplog.at_level(logging.WARNING), leased(lock, lease_s=0.0):
        eventually(lambda: "was taken over before the work under it was done" in caplog.text, deadline_s=20)
        is_over.set()
        thread.join()
        assert _is_held(lock)
    assert not _is_held(lock)


def _is_held(lock: ObjectPath) -> bool:
    try:
        return b'"holder":""' not in lock.bucket.get(lock.key)[0]
    except FileNotFoundError:
        return False


def test_what_is_hashed_is_not_read(s3: FaultProxy) -> None:
    place = new_object_place()
    write(place / "one", "1")
    gets = s3.requests["GET"]
    known_sha256(place / "one")
    assert s3.requests["GET"] == gets + 1
    stage_file(place / "two", lambda file: file.write(b"2")).unlink()
    assert s3.requests["GET"] == gets + 1


@pytest.mark.parametrize("fault", ["refuse", "cut", "lose_answer"])
def test_a_file_of_an_archive_is_taken_whole_through_faults(s3: FaultProxy, fault: Fault) -> None:
    folder, content = uuid4().hex, random.Random(7).randbytes(3 << 20)
    bucket(BUCKET).put(f"{folder}/BTCUSDT/BTCUSDT2025-05-31.csv.gz", content)
    archive = Archive(f"s3://{BUCKET}/{folder}")
    s3.fail(fault, "GET", "BTCUSDT2025", times=2)
    s3.fail("lose_answer" if fault == "lose_answer" else "refuse", "HEAD", "BTCUSDT2025", times=2)
    with archive.trades("BTCUSDT", "2025-05-31") as found:
        assert found.path.read_bytes() == content
    assert s3.is_done
    with pytest.raises(NotFound, match="must hold"), archive.trades("BTCUSDT", "2025-06-01"):
        pass
