"""A record of rows whose object store goes away: rows wait or are made again, no checkpoint comes before its rows."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks import row_log, row_record
from ingestion.sinks.row_record import RowRecord
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import SECOND_NS, parse_iso_ns
from market.errors import StoreUnavailable
from storage.checkpoints import Checkpoint, read_checkpoint
from storage.durable_files import replace_file
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter, read_served_ticks
from storage.instruments import InstrumentPins
from storage.objects.bucket import Patience, bucket
from storage.objects.path import ObjectPath
from tests.restarted import BEGIN_NS, SHORT, serve
from tests.s3_server import BUCKET, FaultProxy
from tests.waiting import eventually
from training_sets.dataset.files import read_columns, read_pieces
from transforms.kernel import compile_kernel
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from upkeep.compaction import compact_finished

B = parse_iso_ns("2026-01-05T12:00:00")
SET = FeatureSet("1.0.0", ("known",), (FeatureGroup("price", "p", ("known",), (0,)),), "f00d")
DEADLINE_S = 30.0
MADE = 100.0
"""Is added to the values of rows that were made again, to tell them."""


@pytest.fixture
def record(object_place: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowRecord:
    """On an object store that is asked again at once, with room for three rows."""
    monkeypatch.setattr(row_log, "RETRY_S", 0.0)
    monkeypatch.setattr(row_log, "MOST_ROWS", 3)
    return RowRecord(FeatureLogWriter(object_place), ServedTickWriter(object_place), raw_folder=tmp_path)


def served(symbol: str, *seconds: int, add: float = 0.0) -> ServedRows:
    row_ns = np.array([B + second * SECOND_NS for second in seconds], np.int64)
    values = np.array([[second + add] for second in seconds])
    rows = FeatureRows(symbol, SET, row_ns, values, np.zeros((len(seconds), 1), np.int8))
    return ServedRows(rows, row_ns)


def made_again(symbol: str, _chosen: FeatureSet, first_ns: int, last_ns: int) -> ServedRows:
    first, last = ((each - B) // SECOND_NS for each in (first_ns, last_ns))
    return served(symbol, *range(first, last + 1), add=MADE)


def keep(record: RowRecord, symbol: str, seq: int) -> None:
    record.keep_checkpoint(symbol, Checkpoint(seq, B, "id", b"state"), lambda _timeout_s: True)


def kept(folder: Path, symbol: str) -> int | None:
    found = read_checkpoint(folder, symbol, "id")
    return None if found is None else found.seq


def logged(place: ObjectPath, symbol: str) -> list[float]:
    rows, _ = FeatureLog(place).read(symbol, SET, from_ns=None, to_ns=None)
    return [float(value) for value in rows.values[:, 0]]


def write(record: RowRecord, symbol: str, second: int) -> None:
    """A row that readers were given, kept by the record's thread before this returns."""
    row = served(symbol, second)
    record.write([row])
    record.note_given([row], given_ns=B)
    record._wait_until_kept()


def test_rows_and_checkpoints_of_an_outage_are_there_once_it_is_over(
    record: RowRecord, object_place: ObjectPath, s3: FaultProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, row_log.__name__)
    record.make_left_out_with(made_again)
    write(record, "A", 1)
    keep(record, "A", 1)
    eventually(lambda: kept(tmp_path, "A") == 1, deadline_s=DEADLINE_S)
    s3.go_away_after(0, "GET")
    for second in (2, 3, 4, 5, 6):
        write(record, "A", second)
        keep(record, "A", second)
        eventually(lambda: record.is_away, deadline_s=DEADLINE_S)
    write(record, "B", 6)
    assert record.symbols_left_out == 2
    assert kept(tmp_path, "A") == 1
    is_waited_for, is_durable = threading.Event(), threading.Event()

    def wait_durable(timeout_s: float) -> bool:
        is_waited_for.set()
        return is_durable.wait(timeout_s)

    record.write([replace(served(symbol, 7), wait_durable=wait_durable) for symbol in "AB"])
    assert is_waited_for.wait(DEADLINE_S)
    s3.come_back()  # which is seen after these rows; A is made again after the next ones, then B
    for second in (8, 9):
        record.write([served(symbol, second) for symbol in "AB"])
    is_durable.set()
    record._wait_until_kept()
    assert (record.is_away, record.symbols_left_out) == (False, 0)
    keep(record, "A", 9)
    record.close()
    assert kept(tmp_path, "A") == 9
    # No row comes into the log before those of its symbol that were left out.
    assert logged(object_place, "A") == [1, 2, 3, 4, *(MADE + second for second in (5, 6, 7, 8)), 9]
    assert logged(object_place, "B") == [MADE + second for second in (6, 7, 8, 9)]
    given, _, _ = read_served_ticks(FeatureLog(object_place), "A", from_ns=0, to_ns=2**62)
    assert [(each - B) // SECOND_NS for each in given.tolist()] == [1, 2, 3, 4]
    assert record.outages == 1
    told = [each.getMessage() for each in caplog.records]
    assert [re.split(r",| after", each)[0] for each in told] == [
        "the object store of the feature log is down",
        "the object store of the feature log is back",
    ]


def test_segments_that_could_not_become_parts_do_with_the_next_run(
    object_place: ObjectPath, s3: FaultProxy, tmp_path: Path, kernel_cache: Path
) -> None:
    messages = simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=BEGIN_NS, duration_ns=2 * SECOND_NS)
    serve(tmp_path, compile_kernel(SHORT, kernel_cache), list(messages))
    pins = InstrumentPins(tmp_path)
    s3.go_away_after(0, "GET")
    with pytest.raises(StoreUnavailable, match="no answer"):
        compact_finished(tmp_path, pins, lambda _share: None, place=object_place)
    s3.come_back()
    s3.go_away_after(1, "PUT")  # in the middle of it
    with pytest.raises(StoreUnavailable, match=r"compaction: could not be done: BTCUSDT: .* no answer"):
        compact_finished(tmp_path, pins, lambda _share: None, place=object_place)
    s3.come_back()
    done = compact_finished(tmp_path, pins, lambda _share: None, place=object_place)
    assert (done["parts_made"], done["parts_verified"], done["problems"]) == (1, 1, [])


def test_a_file_of_a_dataset_that_is_not_answered_whole_is_not_damaged(
    object_place: ObjectPath, s3: FaultProxy
) -> None:
    path = object_place / "train.csv"
    replace_file(path, lambda file: file.write(b"symbol,timestamp,known\n" + b"A,2026-01-05T12:00:00Z,1.0\n" * 9))
    named = path.named()
    assert named is not None
    s3.refusal = (503, "SlowDown", "As it is told.", f"GET /{BUCKET}/{named.key}")
    with pytest.raises(StoreUnavailable, match="no answer"):
        read_columns(path, ["known"], "csv")
    with pytest.raises(StoreUnavailable, match="no answer"):
        list(read_pieces(path, ["known"], "csv"))
    s3.heal()
    assert len(read_columns(path, ["known"], "csv")) == 9


def test_rows_that_the_tape_does_not_give_are_told_with_the_next_step(
    record: RowRecord, s3: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    s3.go_away_after(0, "GET")
    keep(record, "A", 0)
    for second in (1, 2, 3, 4):
        write(record, "A", second)
        keep(record, "A", second)
        eventually(lambda: record.is_away, deadline_s=DEADLINE_S)
    s3.come_back()
    for second in (5, 6):
        write(record, "A", second)
    record.close()
    assert "feature-service rebuild --symbol A computes them" in caplog.text


@pytest.mark.parametrize("is_known", [True, False], ids=["known to be away", "while it is asked"])
def test_closing_while_the_store_is_away_ends_soon_and_leaves_the_checkpoint(
    record: RowRecord,
    s3: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    is_known: bool,
) -> None:
    write(record, "A", 1)
    keep(record, "A", 1)
    eventually(lambda: kept(tmp_path, "A") == 1, deadline_s=DEADLINE_S)
    write(record, "A", 2)
    s3.go_away_after(0, "GET")
    is_over, is_asked = threading.Event(), threading.Event()

    def sleep(_seconds: float) -> None:
        is_asked.set()
        is_over.wait(DEADLINE_S)

    if not is_known:
        monkeypatch.setattr(bucket(BUCKET), "patience", Patience(sleep=sleep))
        monkeypatch.setattr(row_record, "CLOSE_S", 0.1)
    keep(record, "A", 2)
    if is_known:
        eventually(lambda: record.is_away, deadline_s=DEADLINE_S)
    else:
        assert is_asked.wait(DEADLINE_S)
        assert not record.is_away
        monkeypatch.setattr(row_log, "LONG_S", 0.0)
        assert record.is_away
    record.close()
    assert "the next start writes" in caplog.text
    s3.come_back()  # too late: another worker may have the symbol by now
    is_over.set()
    record._thread.join(DEADLINE_S)
    assert kept(tmp_path, "A") == 1
