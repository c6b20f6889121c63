"""Raw Parquet and feature log in an object store that fails: the bytes of a run on a disk, none lost or doubled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from feast import FileSource

from feature_repo.parquet_source import ParquetSource
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import verify_tape
from ingestion.tape.whole import whole_raw
from ingestion.venues.bybit.decode import Decoder
from market.clock import DAY_NS, HOUR_NS, SECOND_NS
from market.errors import Conflict, StoreUnavailable
from market.events import KIND_COUNT
from market.markets import Market
from storage.database.data_folder import _make_folder_id, read_folder_id
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.part_times import CREATED, EVENT
from storage.features.parts import group_folder
from storage.instruments import InstrumentPins
from storage.objects.names import NAMES
from storage.objects.path import ObjectPath
from storage.objects.unnamed import remove_unnamed
from storage.places import Place
from storage.raw.events import read_events
from storage.raw.published import Published
from storage.raw.raw_data import RawData
from storage.retention.features import archive_feature_days, expired_feature_days, restore_feature_days
from storage.retention.raw import archive_parts, expired_parts, restore_parts
from storage.tape import FIRST_SEQ, TapeWriter
from tests import killed_writers
from tests.forked import forked
from tests.killed_senders import KilledSenders
from tests.s3_server import KILLS, FaultProxy, new_object_place
from training_sets.rebuild.days import DayRange, rebuild_days
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.catalogue import feature_set
from transforms.kernel import compile_kernel

SYMBOL = DEFAULT_SYMBOLS[0].symbol
START_NS = 20_000 * DAY_NS + 12 * HOUR_NS
SHORT = feature_set("0.0.1", ["mid_price", "spread_abs", "vwap_3s", "volume_3s"])
EVER = {"from_ns": 0, "to_ns": 2**62}
_OF_DAY, _OF_MANIFEST = r"[^ ]*/date=[^/]*/symbol=[^/]*", r"[^ ]*/manifest/symbol=[^/]*"
STEPS = {
    "folder made and named": rf"PUT (?!{_OF_DAY}/|{_OF_MANIFEST}/)[^ ]*/_names.json$",
    "Parquet uploaded": rf"PUT {_OF_DAY}/[^/]*.parquet$",
    "Parquet read back": rf"GET {_OF_DAY}/[^/]*.parquet$",
    "Parquet named": rf"PUT {_OF_DAY}/_names.json$",
    "manifest entry uploaded": rf"PUT {_OF_MANIFEST}/(?!_names)[^/]*.json$",
    "manifest entry read back": rf"GET {_OF_MANIFEST}/(?!_names)[^/]*.json$",
    "manifest swapped": rf"PUT {_OF_MANIFEST}/_names.json$",
    "what was replaced deleted": "POST ",
}
"""What a compaction asks of the store, in order."""


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds on a tape of small segments, compacted."""
    folder = tmp_path_factory.mktemp("taped") / "raw"
    decoder = Decoder(InstrumentPins(folder))
    with TapeWriter(folder, SYMBOL, segment_bytes=40_000) as writer:
        for message in simulate(DEFAULT_SYMBOLS[:1], seed=5, start_ns=START_NS, duration_ns=7 * SECOND_NS):
            decoder.decode(message.body)  # pins the scale
            writer.append(message.recv_ns, message.body)
    compact_tape(folder, SYMBOL, InstrumentPins(folder))
    return folder


def contents(place: Place, pattern: str = "*") -> dict[str, bytes]:
    """Every file below by its name, locks and what else begins with a dot apart."""
    found = (path for path in place.rglob(pattern) if path.is_file())
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(place).parts)
    }


def parquet(place: Place) -> dict[str, bytes]:
    """What compaction made."""
    return {name: content for name, content in contents(place).items() if name.startswith("raw_") or "manifest" in name}


def compact(taped: Path, place: Place) -> int:
    return compact_tape(taped, SYMBOL, InstrumentPins(taped), place=place).made


def rebuild(raw: RawData, log: FeatureLog, kernel_cache: Path) -> int:
    return sum(day.rows for day in rebuild_days([DayRange(Rebuild(raw, log, kernel_cache, SYMBOL, SHORT))]))


def test_what_is_compacted_and_rebuilt_through_faults_has_the_bytes_of_a_disk(
    s3: FaultProxy, taped: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    place = new_object_place()
    failed = s3.failed
    s3.fail_often(0.15, seed=7)
    made = compact(taped, place / "raw")
    assert made > 1
    assert parquet(place / "raw") == parquet(taped)
    assert compact(taped, place / "raw") == 0
    assert verify_tape(taped, SYMBOL, InstrumentPins(taped), place=place / "raw").is_whole
    raw, here = RawData(taped, place / "raw"), RawData(taped)
    assert raw.parts(SYMBOL) == here.parts(SYMBOL)
    events = read_events(raw, SYMBOL, kinds=range(KIND_COUNT), **EVER)
    assert np.array_equal(events, read_events(here, SYMBOL, kinds=range(KIND_COUNT), **EVER))
    rows = rebuild(raw, FeatureLog(place / "features"), kernel_cache)
    assert rows == rebuild(here, FeatureLog(tmp_path), kernel_cache) > 4
    assert contents(place / "features") == contents(tmp_path)
    assert rebuild(raw, FeatureLog(place / "features"), kernel_cache) == 0
    assert s3.failed - failed > 20


def cut_off(s3: FaultProxy, taped: Path, last: int) -> None:
    """A compaction whose store goes away after so many writes leaves whole parts, and the next one makes the rest."""
    place = new_object_place()
    s3.go_away_after(last, "PUT")
    with pytest.raises(StoreUnavailable):
        compact(taped, place)
    s3.come_back()
    left, expected = RawData(taped, place).parts(SYMBOL), RawData(taped).parts(SYMBOL)
    assert left == [part for part in expected if part in left]
    compact(taped, place)
    assert parquet(place) == parquet(taped)


def test_what_a_store_that_goes_away_leaves_is_made_whole_by_the_next_compaction(s3: FaultProxy, taped: Path) -> None:
    cut_off(s3, taped, 60)


@pytest.mark.soak
def test_a_store_that_goes_away_at_any_write_loses_and_doubles_nothing(s3: FaultProxy, taped: Path) -> None:
    before = s3.requests["PUT"]
    compact(taped, new_object_place())
    writes = s3.requests["PUT"] - before
    for last in range(1, writes):
        cut_off(s3, taped, last)


@pytest.mark.soak
def test_processes_that_are_killed_at_any_step_of_their_writes_lose_and_double_nothing(
    s3: FaultProxy, taped: Path
) -> None:
    s3.kills = kills = KilledSenders(seed=19)
    while kills.total < KILLS:
        place, is_done = new_object_place(), False
        while not is_done:
            process = forked(killed_writers.compact, taped, SYMBOL, str(place))
            # What it has finished stays, so that it comes to its end although it is killed again and again.
            kills.draw(STEPS, process.kill, most=3)
            process.join()
            is_done = process.exitcode == 0
            assert kills.spare() == (not is_done)
        kills.settle()
        assert parquet(place) == parquet(taped)
        remove_unnamed(place, older_than_s=0.0)
        kept = {named.key for path in place.rglob("*") if (named := path.named()) is not None}
        objects = {each.key for each in place.bucket.listed(place.key, lambda key: not key.endswith(NAMES))}
        assert kept == objects
        print(f"{kills.total} kills of {KILLS}, none lost, none doubled")
    print(kills.table())


def test_rows_that_were_served_and_the_store_refused_stay_and_are_written_once(
    s3: FaultProxy, taped: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    place = new_object_place()
    rows = rebuild_rows(RawData(taped), SYMBOL, compile_kernel(SHORT, kernel_cache))
    available_ns = rows.row_ns + 5_000_000
    writer = FeatureLogWriter(place)
    writer.append(rows, available_ns)
    s3.go_away_after(2, "PUT")
    with pytest.raises(StoreUnavailable):
        writer.flush()
    s3.come_back()
    writer.close()
    with FeatureLogWriter(tmp_path) as here:
        here.append(rows, available_ns)
    found, found_ns = FeatureLog(place).read(SYMBOL, SHORT, from_ns=None, to_ns=None)
    assert (found.row_ns.tolist(), found_ns.tolist()) == (rows.row_ns.tolist(), available_ns.tolist())
    assert found.values.tobytes() == rows.values.tobytes()
    assert FeatureLog(place).last_served_row_ns(SYMBOL, SHORT) == int(rows.row_ns[-1])
    assert FeatureLog(place).served_days(SYMBOL, SHORT) == FeatureLog(tmp_path).served_days(SYMBOL, SHORT)


def test_feast_reads_what_is_named_and_nothing_that_was_not_finished(
    object_place: ObjectPath, taped: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    rebuild(RawData(taped), FeatureLog(object_place), kernel_cache)
    rebuild(RawData(taped), FeatureLog(tmp_path), kernel_cache)
    [group, *_] = SHORT.groups
    [path] = group_folder(object_place, group).rglob("*.parquet")
    # As a writer leaves behind that died before its folder named it.
    object_place.bucket.put(f"{path.parent.key}/rebuilt-9-9-ffff.parquet", path.read_bytes())

    def selected(place: Place) -> list[dict[str, object]]:
        source = FileSource(
            name="log", path=str(group_folder(place, group)), timestamp_field=EVENT, created_timestamp_column=CREATED
        )
        columns = [EVENT, CREATED, *group.columns, "symbol"]
        found = ParquetSource.open(None, source, {})
        keys = {"symbol": pa.array([SYMBOL])}
        selection = found.select(columns, time_field=EVENT, low_ns=START_NS, high_ns=None, keys=keys)
        return selection.table().to_pylist()

    assert selected(object_place) == selected(tmp_path) != []
    assert group.columns[0] in selected(object_place)[0]


@pytest.mark.parametrize("is_here", [True, False])
def test_old_days_go_from_an_object_store_to_an_archive_and_come_back(
    s3: FaultProxy, object_place: ObjectPath, taped: Path, kernel_cache: Path, tmp_path: Path, *, is_here: bool
) -> None:
    archive: Place = tmp_path / "archive" if is_here else new_object_place()
    s3.fail_often(0.1, seed=11)
    raw, log = RawData(taped, object_place / "raw"), FeatureLog(object_place / "features")
    compact(taped, object_place / "raw")
    rebuild(raw, log, kernel_cache)
    before = contents(object_place)
    parts = raw.parts(SYMBOL)
    kept = {path: path.read_bytes() for path in taped.rglob("*.log")}
    expired = expired_parts(raw, SYMBOL, parts[0].last_ns + 1)
    assert expired == parts[:1]
    archive_parts(raw, archive, expired)
    archive_feature_days(log, archive / "features", expired_feature_days(log, SYMBOL, 2**62))
    assert [part.name for part in raw.parts(SYMBOL)] == [part.name for part in parts if part not in expired]
    assert expired_feature_days(log, SYMBOL, 2**62) == []
    restore_parts(raw, archive, SYMBOL)
    restore_feature_days(log, archive / "features", SYMBOL)
    assert contents(object_place) == before
    assert {path: path.read_bytes() for path in taped.rglob("*.log")} == kept


def test_a_tape_on_another_machine_goes_on_after_the_parts_that_there_are(
    object_place: ObjectPath, taped: Path, tmp_path: Path
) -> None:
    compact(taped, object_place)
    with TapeWriter(tmp_path, SYMBOL, published=Published(object_place)) as writer:
        assert writer.next_seq == RawData(taped, object_place).parts(SYMBOL)[-1].last_seq + 1 > FIRST_SEQ
    other = Market("bybit", "spot")
    with pytest.raises(Conflict, match="must be of one market"):
        TapeWriter(tmp_path / "other", SYMBOL, published=Published(object_place), market=other)
    pins = InstrumentPins(tmp_path, stated=Published(object_place).scale)
    assert pins.get(SYMBOL) == InstrumentPins(taped).get(SYMBOL)


def test_machines_that_share_an_object_store_have_one_folder_id(object_place: ObjectPath) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [*pool.map(lambda _number: _make_folder_id(object_place), range(4))]
    assert len({*made}) == 1
    assert read_folder_id(object_place) == made[0]


def test_the_tape_that_has_no_part_yet_is_read_beside_the_object_store(object_place: ObjectPath, taped: Path) -> None:
    compact(taped, object_place)
    raw = RawData(taped, object_place)
    newest = raw.parts(SYMBOL)[-1]
    (object_place / "manifest" / f"symbol={SYMBOL}" / f"{newest.name}.json").unlink()
    assert len(raw.parts(SYMBOL)) == len(RawData(taped).parts(SYMBOL)) - 1
    with whole_raw(raw, SYMBOL, InstrumentPins(taped)) as whole:
        events = read_events(whole, SYMBOL, kinds=range(KIND_COUNT), **EVER)
    assert np.array_equal(events, read_events(RawData(taped), SYMBOL, kinds=range(KIND_COUNT), **EVER))
