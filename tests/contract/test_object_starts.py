"""A start while the object store is away: tapes go on, rows are served, and the log has each once the store is back."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ingestion.messages import TimedMessage
from ingestion.sinks import row_log
from ingestion.sinks.row_record import RowRecord
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS
from market.errors import StoreUnavailable
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.part_times import Int64s
from storage.features.served_ticks import ServedTickWriter
from storage.instruments import InstrumentPins
from storage.objects import reach
from storage.objects.path import ObjectPath
from storage.raw.published import Published
from storage.raw.raw_data import RawData
from storage.tape import FIRST_SEQ, Hole, TapeWriter, read_tape, read_tape_and_holes
from tests.pipelines import pipeline_in
from tests.restarted import BEGIN_NS, SHORT, SYMBOL, Kept
from tests.s3_server import FaultProxy
from tests.waiting import eventually
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import joined_rows

DEADLINE_S = 30.0
STOPPED_S = 12


@pytest.fixture
def messages() -> list[TimedMessage]:
    return list(simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=BEGIN_NS, duration_ns=25 * SECOND_NS))


@pytest.fixture
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(SHORT, kernel_cache)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again does so at once."""
    monkeypatch.setattr(row_log, "RETRY_S", 0.0)
    monkeypatch.setattr(reach, "RETRY_S", 0.01)


class Process:
    """An ingest from its start to its end, whose stores are in an object store."""

    def __init__(self, folder: Path, place: ObjectPath, kernel: Kernel, *, stored_ns: int | None = None) -> None:
        self.kept = Kept()
        self.record = RowRecord(
            FeatureLogWriter(place / "features"),
            ServedTickWriter(place / "features"),
            raw_folder=folder,
            is_whole=lambda _symbol: True,
            stored_ns=lambda _symbol: stored_ns,
        )
        self.published = Published(place / "raw", newest_row_ns=lambda _symbol: stored_ns)
        self.published.look()
        self.pipeline = pipeline_in(
            folder,
            kernel,
            self.record,
            self.kept,
            history=self.record,
            published=self.published,
            tape_sync_ms=1,
        )

    def take(self, messages: Sequence[TimedMessage]) -> None:
        for message in messages:
            self.pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            self.pipeline.handle(message)

    def keep_checkpoint(self) -> None:
        lane = self.pipeline.lanes[SYMBOL]
        checkpoint = lane.checkpoint()
        assert checkpoint is not None
        self.record.keep_checkpoint(SYMBOL, checkpoint, lane.durability())
        self.record._wait_until_kept()

    def close(self) -> None:
        self.published.close()
        self.pipeline.close()


def logged(place: ObjectPath, kernel: Kernel) -> tuple[Int64s, Int64s]:
    """The times of the rows in the log, and when each became readable."""
    rows, available_ns = FeatureLog(place / "features").read(SYMBOL, kernel.feature_set, from_ns=None, to_ns=None)
    return rows.row_ns, available_ns


def parted(messages: Sequence[TimedMessage], *seconds: float) -> list[Sequence[TimedMessage]]:
    times = [BEGIN_NS + int(each * SECOND_NS) for each in seconds]
    cuts = [0, *(sum(message.recv_ns < each for message in messages) for each in times), len(messages)]
    return [messages[begin:end] for begin, end in pairwise(cuts)]


@pytest.mark.parametrize("room", [row_log.MOST_ROWS, 3], ids=["rows wait in memory", "rows are left out"])
@pytest.mark.usefixtures("soon")
def test_a_start_without_the_store_tapes_and_serves_and_the_log_has_every_row_once(
    object_place: ObjectPath,
    s3: FaultProxy,
    tmp_path: Path,
    kernel: Kernel,
    messages: list[TimedMessage],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
) -> None:
    caplog.set_level(logging.WARNING)
    before, unkept, after, last = parted(messages, 5, STOPPED_S, 20)
    first = Process(tmp_path, object_place, kernel)
    first.take(before)
    first.keep_checkpoint()
    known = logged(object_place, kernel)
    first.take(unkept)
    first.close()
    logged_before, available_before = logged(object_place, kernel)
    assert len(logged_before) > len(known[0]) > 0
    monkeypatch.setattr(row_log, "MOST_ROWS", room)
    s3.go_away_after(0, "GET")
    with closing(Process(tmp_path, object_place, kernel)) as second:
        second.record.make_left_out_with(
            lambda symbol, _set, begin_ns, end_ns: second.pipeline.rows_again(symbol, kernel, (begin_ns, end_ns), 0)
        )
        second.take(after)
        assert len(second.kept.served) > 0
        assert second.record.is_away
        s3.come_back()
        second.take(last)
        second.record._wait_until_kept()
        assert (second.record.is_away, second.record.symbols_left_out) == (False, 0)
        eventually(lambda: not second.published.is_away, deadline_s=DEADLINE_S)
    row_ns, available_ns = logged(object_place, kernel)
    served = joined_rows([each.whole_seconds().rows for each in (*first.kept.served, *second.kept.served)])
    assert row_ns.tolist() == served.row_ns.tolist() == list(range(row_ns[0], row_ns[-1] + 1, SECOND_NS))
    # What the log had before is as readable as it was.
    assert np.array_equal(available_ns[: len(logged_before)], available_before)
    told = [re.split(r",| after", each.getMessage())[0] for each in caplog.records]
    assert sorted(each for each in told if "object store" in each) == [
        "the object store of raw Parquet is back",
        "the object store of raw Parquet is down",
        "the object store of the feature log is back",
        "the object store of the feature log is down",
    ]


def test_what_the_online_store_has_was_given_where_the_record_of_that_is_away(
    object_place: ObjectPath, s3: FaultProxy, tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    """No message may come before a row that readers had: the queue was read late, and the row was of the clock."""
    before, after = parted(messages, 5)
    with closing(Process(tmp_path, object_place, kernel)) as first:
        first.take(before)
    stored_ns = BEGIN_NS + 9 * SECOND_NS
    s3.go_away_after(0, "GET")
    with closing(Process(tmp_path, object_place, kernel, stored_ns=stored_ns)) as second:
        second.take(after[:1])
        assert second.pipeline.late_messages == 1
        s3.come_back()
    assert [each.recv_ns for each in read_tape(tmp_path, SYMBOL)][-1] >= stored_ns


@pytest.mark.usefixtures("soon")
def test_the_first_message_of_a_new_symbol_during_an_outage_begins_its_tape(
    object_place: ObjectPath, s3: FaultProxy, tmp_path: Path, kernel: Kernel, messages: list[TimedMessage]
) -> None:
    with closing(Process(tmp_path, object_place, kernel)) as process:
        s3.go_away_after(0, "GET")
        process.take(messages[:100])
        assert len(process.kept.served) > 0
        s3.come_back()
    assert next(iter(read_tape(tmp_path, SYMBOL))).seq == FIRST_SEQ


@pytest.mark.usefixtures("soon")
def test_a_symbol_of_which_nobody_knows_what_was_published_waits_for_the_store_and_goes_on_after_its_parts(
    object_place: ObjectPath,
    s3: FaultProxy,
    tmp_path: Path,
    kernel: Kernel,
    messages: list[TimedMessage],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, after = parted(messages, 5)
    there, here = tmp_path / "there", tmp_path / "here"
    with closing(Process(there, object_place, kernel)) as first:
        first.take(before)
    compact_tape(there, SYMBOL, InstrumentPins(there), place=object_place / "raw")
    last_seq = RawData(there, object_place / "raw").parts(SYMBOL)[-1].last_seq
    s3.go_away_after(0, "GET")
    with closing(Process(here, object_place, kernel)) as second:
        taking = threading.Thread(target=second.take, args=(after[:1],), daemon=True)
        taking.start()
        eventually(lambda: second.published.waits_for == SYMBOL, deadline_s=DEADLINE_S)
        s3.come_back()
        taking.join(DEADLINE_S)
        assert second.published.waits_for is None
    assert next(iter(read_tape(here, SYMBOL))).seq == last_seq + 1
    assert sum("ingest waits for the object store of raw Parquet" in each for each in caplog.messages) == 1


@pytest.mark.usefixtures("soon")
def test_a_tape_that_is_older_than_what_was_served_waits_for_the_store_and_goes_on_after_the_other_machines_parts(
    object_place: ObjectPath,
    s3: FaultProxy,
    tmp_path: Path,
    kernel: Kernel,
    messages: list[TimedMessage],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, meanwhile, after = parted(messages, 5, 10)
    there, here = tmp_path / "there", tmp_path / "here"
    with closing(Process(here, object_place, kernel)) as first:
        first.take(before)
    shutil.copytree(here, there)
    seqs_before = [frame.seq for frame in read_tape(here, SYMBOL)]
    with closing(Process(there, object_place, kernel)) as other:
        other.take(meanwhile)
    compact_tape(there, SYMBOL, InstrumentPins(there), place=object_place / "raw")
    last_seq = RawData(there, object_place / "raw").parts(SYMBOL)[-1].last_seq
    s3.go_away_after(0, "GET")
    # The last row that the other machine served came minutes after the end of the tape here.
    with closing(Process(here, object_place, kernel, stored_ns=BEGIN_NS + 2 * MINUTE_NS)) as second:
        taking = threading.Thread(target=second.take, args=(after[:1],), daemon=True)
        taking.start()
        eventually(lambda: second.published.waits_for == SYMBOL, deadline_s=DEADLINE_S)
        s3.come_back()
        taking.join(DEADLINE_S)
    # What the other machine taped is missing here; it is in raw Parquet.
    seqs = [frame.seq for frame in read_tape_and_holes(here, SYMBOL) if not isinstance(frame, Hole)]
    assert seqs[: len(seqs_before)] == seqs_before
    assert seqs[len(seqs_before)] == last_seq + 1 > seqs_before[-1] + 1
    [told] = [each for each in caplog.messages if "ingest waits for" in each]
    assert "another machine has gone on with it" in told


def test_a_stop_ends_the_waiting_for_what_was_published(
    object_place: ObjectPath, s3: FaultProxy, tmp_path: Path
) -> None:
    s3.go_away_after(0, "GET")
    published = Published(object_place)
    published.look()
    published.close()
    with pytest.raises(StoreUnavailable):
        TapeWriter(tmp_path, SYMBOL, published=published)
    assert published.has_given_up
