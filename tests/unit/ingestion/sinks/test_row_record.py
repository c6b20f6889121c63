"""The record of closed rows: only what is durable, in order, checkpoints behind their rows, a failure for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.record_items import MOST_CHECKPOINTS
from ingestion.sinks.row_record import MANY_ROWS, RowRecord
from market.clock import SECOND_NS, parse_iso_ns
from market.errors import Conflict, StoreUnavailable
from storage.checkpoints import Checkpoint, read_checkpoint
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.served_ticks import ServedTickWriter, read_served_ticks
from tests.live import eventually
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

B = parse_iso_ns("2026-01-05T12:00:00")
SYMBOL = "BTCUSDT"
SET = FeatureSet("1.0.0", ("known",), (FeatureGroup("price", "p", ("known",), (0,)),), "f00d")
CHECKPOINT = Checkpoint(7, B, "id", b"state")


class Durable:
    """Whether messages are on the disk yet; ``asked`` is set once somebody waits for it."""

    def __init__(self, *, now: bool = False) -> None:
        self.reached = threading.Event()
        self.asked = threading.Event()
        if now:
            self.reached.set()

    def wait(self, timeout_s: float) -> bool:
        self.asked.set()
        return self.reached.wait(timeout_s)


def served(*seconds: float, durable: Durable | None = None) -> ServedRows:
    row_ns = np.array([B + round(second * SECOND_NS) for second in seconds], np.int64)
    values = np.array([[float(second)] for second in seconds])
    rows = FeatureRows(SYMBOL, SET, row_ns, values, np.zeros((len(seconds), 1), np.int8))
    return ServedRows(rows, row_ns, wait_durable=(durable or Durable(now=True)).wait)


def record_in(
    folder: Path,
    *,
    check: Callable[[], object] = lambda: None,
    give_way: Callable[[], object] = lambda: None,
    log: FeatureLogWriter | None = None,
) -> RowRecord:
    return RowRecord(
        log or FeatureLogWriter(folder / "features"),
        ServedTickWriter(folder / "features"),
        raw_folder=folder / "raw",
        check=check,
        give_way=give_way,
    )


def logged(folder: Path) -> list[float]:
    rows, _ = FeatureLog(folder / "features").read(SYMBOL, SET, from_ns=None, to_ns=None)
    return [float(value) for value in rows.values[:, 0]]


def test_rows_wait_in_order_until_their_messages_are_durable(tmp_path: Path) -> None:
    record, late = record_in(tmp_path), Durable()
    record.write([served(1, 2, durable=late)])
    record.write([served(3)])
    assert late.asked.wait(30)
    assert record.waiting == 1
    assert record.last_row_ns(SYMBOL, SET) is None
    late.reached.set()
    record.close()
    assert logged(tmp_path) == [1, 2, 3]
    assert record.last_row_ns(SYMBOL, SET) == B + 3 * SECOND_NS
    assert record.waiting == 0


def test_the_record_gives_way_before_it_keeps_rows_and_before_each_symbol_that_it_writes(tmp_path: Path) -> None:
    log = FeatureLogWriter(tmp_path / "features")
    asked: list[int] = []
    record = record_in(tmp_path, give_way=lambda: asked.append(log.buffered_rows), log=log)
    record.write([served(1)])
    record.note_given([served(1)], given_ns=B + SECOND_NS)
    record.keep_checkpoint(SYMBOL, CHECKPOINT, Durable(now=True).wait)
    record.close()
    assert asked == [0, 1, 1]
    assert logged(tmp_path) == [1]


def test_rows_whose_messages_never_became_durable_are_in_no_log(tmp_path: Path) -> None:
    record, never = record_in(tmp_path), Durable()
    record.write([served(1)])
    record.write([served(2, durable=never)])
    record.keep_checkpoint(SYMBOL, CHECKPOINT, never.wait)
    record.close()
    assert logged(tmp_path) == [1]
    assert read_checkpoint(tmp_path / "raw", SYMBOL, "id") is None


def test_whoever_writes_the_rows_of_a_long_silence_waits_until_they_are_in_the_log(tmp_path: Path) -> None:
    record, late, has_written = record_in(tmp_path), Durable(), threading.Event()

    def write() -> None:
        record.write([served(*range(1, MANY_ROWS + 2), durable=late)])
        has_written.set()

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    assert late.asked.wait(30)
    assert not has_written.is_set()
    late.reached.set()
    writing.join(30)
    assert has_written.is_set()
    assert record.waiting == 0
    assert len(logged(tmp_path)) == MANY_ROWS + 1
    record.close()


def given(folder: Path) -> dict[float, int]:
    """When each row was given, ns after its time."""
    row_ns, available_ns, digest = read_served_ticks(FeatureLog(folder / "features"), SYMBOL, from_ns=0, to_ns=2**62)
    assert len(row_ns) == len(available_ns) == len(digest)
    after_ns = (available_ns - row_ns).tolist()
    return {(each - B) / SECOND_NS: after for each, after in zip(row_ns.tolist(), after_ns, strict=True)}


def test_the_log_has_whole_seconds_and_the_record_the_newest_row_that_readers_were_given(tmp_path: Path) -> None:
    record, never = record_in(tmp_path), Durable()
    for rows in (served(1, 2, 2.1), served(2.2), served(3)):
        record.write([rows])
        record.note_given([rows], given_ns=int(rows.rows.row_ns[-1]) + 7)
    record.note_given([served(4, durable=never)], given_ns=B)
    assert record.last_given_ns(SYMBOL) is None
    record.close()
    assert logged(tmp_path) == [1, 2, 3]
    assert given(tmp_path) == {2.1: 7, 2.2: 7, 3: 7}
    assert record.last_given_ns(SYMBOL) == B + 3 * SECOND_NS


def test_a_checkpoint_is_written_behind_the_rows_before_it(tmp_path: Path) -> None:
    record, late = record_in(tmp_path), Durable()
    record.write_again(served(1))
    record.note_given([served(1)], given_ns=B)
    record.keep_checkpoint(SYMBOL, CHECKPOINT, late.wait)
    assert late.asked.wait(30)
    assert read_checkpoint(tmp_path / "raw", SYMBOL, "id") is None
    late.reached.set()
    eventually(lambda: read_checkpoint(tmp_path / "raw", SYMBOL, "id") == CHECKPOINT)
    # Both were flushed for it: whoever goes on from the checkpoint finds them.
    assert logged(tmp_path) == list(given(tmp_path)) == [1]
    record.close()


def test_few_checkpoints_wait_and_who_brings_another_waits_for_room(tmp_path: Path) -> None:
    record, late, has_kept = record_in(tmp_path), Durable(), threading.Event()
    for _ in range(MOST_CHECKPOINTS):
        assert record.has_room()
        record.keep_checkpoint(SYMBOL, CHECKPOINT, late.wait)
    assert not record.has_room()
    newest = Checkpoint(9, B, "id", b"newest")

    def keep() -> None:
        record.keep_checkpoint(SYMBOL, newest, late.wait)
        has_kept.set()

    keeping = threading.Thread(target=keep, daemon=True)
    keeping.start()
    assert late.asked.wait(30)
    assert not has_kept.is_set()
    late.reached.set()
    keeping.join(30)
    assert has_kept.is_set()
    record.close()
    assert record.has_room()
    assert read_checkpoint(tmp_path / "raw", SYMBOL, "id") == newest


def test_checkpoints_that_wait_are_written_together_each_symbols_newest_behind_its_rows(tmp_path: Path) -> None:
    record, late = record_in(tmp_path), Durable()
    record.keep_checkpoint("AAAUSDT", CHECKPOINT, late.wait)
    assert late.asked.wait(30)
    record.write([served(1)])
    record.note_given([served(1)], given_ns=B)
    others = [f"S{number}USDT" for number in range(5)]
    newest = Checkpoint(9, B, "id", b"newest")
    for symbol, checkpoint in ((SYMBOL, CHECKPOINT), *((each, CHECKPOINT) for each in others), (SYMBOL, newest)):
        record.keep_checkpoint(symbol, checkpoint, late.wait)
    late.reached.set()
    record.close()
    assert [read_checkpoint(tmp_path / "raw", each, "id") for each in others] == [CHECKPOINT] * 5
    assert read_checkpoint(tmp_path / "raw", SYMBOL, "id") == newest
    assert logged(tmp_path) == list(given(tmp_path)) == [1]
    assert not [path for path in tmp_path.rglob(".*") if path.is_file() and path.name.startswith((".part", ".S"))]


def test_what_forbids_a_write_is_final_and_nothing_more_is_written(tmp_path: Path) -> None:
    is_ours = True

    def check() -> None:
        if not is_ours:
            raise Conflict("leases: must stay, were taken over")

    record = record_in(tmp_path, check=check, log=FeatureLogWriter(tmp_path / "features", flush_rows=1))
    record.write([served(1)])
    record.keep_checkpoint(SYMBOL, CHECKPOINT, Durable(now=True).wait)
    eventually(lambda: logged_or_none(tmp_path) == [1])
    is_ours = False
    record.write([served(2)])

    def is_refused() -> bool:
        try:
            record.keep_checkpoint(SYMBOL, Checkpoint(8, B, "id", b"later"), Durable(now=True).wait)
        except Conflict:
            return True
        return False

    eventually(is_refused)
    with pytest.raises(Conflict, match="taken over"):
        record.write([served(3)])
    with pytest.raises(Conflict, match="taken over"):
        record.close()
    assert logged(tmp_path) == [1]
    assert read_checkpoint(tmp_path / "raw", SYMBOL, "id") == CHECKPOINT


def logged_or_none(folder: Path) -> list[float] | None:
    return logged(folder) if (folder / "raw" / "checkpoints").is_dir() else None


def test_what_the_disk_refuses_is_raised_by_every_later_call(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    record = record_in(tmp_path, log=FeatureLogWriter(tmp_path / "features", flush_rows=1))

    def is_refused() -> bool:
        try:
            record.write([served(1)])
        except StoreUnavailable:
            return True
        return False

    eventually(is_refused)
    with pytest.raises(StoreUnavailable):
        record.write([served(2)])
    with pytest.raises(StoreUnavailable):
        record.close()


def test_a_record_that_was_not_told_otherwise_knows_of_no_whole_symbol(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    assert not record.is_whole(SYMBOL)
    record.close()
