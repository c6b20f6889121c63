"""Books of the past: an engine that begins with one computes what one does that began with the first snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.change import mark_of
from ingestion.pipeline.past_books import PastBooks, newest_before
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.warming import Warmer, WarmingPlan
from ingestion.sources.played.recordings import read_recording
from market.clock import MINUTE_NS, SECOND_NS
from market.markets import DEFAULT_MARKET
from storage import tape
from tests.pipelines import pipeline_in
from transforms.catalogue import feature_set, set_horizon_ns
from transforms.engine import Engine
from transforms.kernel import Kernel, compile_kernel

RECORDING: Final = "reencoded/BTCUSDT_20240718-19.jsonl.gz"
SYMBOL: Final = "BTCUSDT"
SHORT: Final = feature_set(
    "0.1.0", ["mid_price", "depth_imbalance_top5", "spread_abs", "returns_3s", "ofi_3s", "volume_15s", "vwap_3s"]
)


@pytest.fixture
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(SHORT, kernel_cache)


@pytest.fixture
def played(tmp_path: Path, kernel: Kernel, recorded_data: Path) -> Iterator[Pipeline]:
    """A pipeline that has taken a recording of eight minutes, whose only whole book came first."""
    raw = tmp_path / "raw"
    pipeline = pipeline_in(raw, kernel, tape_sync_ms=1)
    for message in read_recording(recorded_data / RECORDING):
        assert isinstance(message, TimedMessage)
        pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
        pipeline.handle(message)
    yield pipeline
    pipeline.close()


def test_rows_from_a_book_of_the_past_are_those_from_the_first_snapshot(
    played: Pipeline, kernel: Kernel, kernel_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = played.lanes[SYMBOL]
    assert lane.durability()(10)
    mark = replace(mark_of(SYMBOL, lane), books=lane.past.books)
    assert mark.closed_ns is not None
    past = newest_before(mark.books, mark.closed_ns - MINUTE_NS - set_horizon_ns(SHORT))
    assert past is not None
    assert past.first_seq > tape.FIRST_SEQ + 100, "the messages that made the book are not needed"
    plan = WarmingPlan(SHORT, kernel_cache, tmp_path / "raw", DEFAULT_MARKET, SECOND_NS)
    expected, found = Warmer(plan, kernel, replace(mark, books=())), Warmer(plan, kernel, mark)
    with monkeypatch.context() as patched:
        patched.setattr("ingestion.pipeline.warming.last_snapshot_ns", must_not_be_looked_for)
        found.bring_to(mark)
    expected.bring_to(mark)
    rows, of_whole = found.engine().rows, expected.engine().rows
    assert len(rows) == 60
    assert rows.row_ns.tobytes() == of_whole.row_ns.tobytes()
    assert rows.values.tobytes() == of_whole.values.tobytes()
    assert rows.status.tobytes() == of_whole.status.tobytes()
    assert rows.values.tobytes() == b"".join(each.values.tobytes() for each in lane.closed.remembered[-60:])


def must_not_be_looked_for(*_: object) -> int:
    raise AssertionError("no snapshot is looked for where a book is known")


def test_of_any_age_there_is_a_book_that_is_not_much_older(played: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, books = played.lanes[SYMBOL].engine, PastBooks()
    book = engine.known_book()
    assert book is not None
    for minute in range(1, 1500):
        now_ns = minute * MINUTE_NS
        monkeypatch.setattr(Engine, "known_book", lambda _engine, now_ns=now_ns: replace(book, closed_ns=now_ns))
        books.note(engine, now_ns, 1)
        books.note(engine, now_ns + SECOND_NS, 1)
        assert len(books.books) <= 36
        for age in (0, 1, 3, 7, 8, 20, 100, 300, 447):
            oldest = max(age + 1, 9 * age // 7 + 1)
            if minute > oldest:
                found = newest_before(books.books, now_ns - age * MINUTE_NS)
                assert found is not None
                assert now_ns - found.book.closed_ns <= oldest * MINUTE_NS
