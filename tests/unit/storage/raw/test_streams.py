"""Backfilled parts beside live ones: one history in time, the same at any cut, and live seqs as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from market.clock import DAY_NS, SECOND_NS
from market.errors import InvalidRequest
from market.events import KIND_COUNT, KLINE, TRADE, Events, empty_events, mark_message
from market.instruments import Instrument
from storage.raw import events as raw_events
from storage.raw.events import first_message_ns, stream_events
from storage.raw.manifest import Backfill, known_last_seqs
from storage.raw.parquet import PartWriter, write_events
from storage.raw.raw_data import RawData
from storage.raw.streams import BACKFILL_STREAMS, backfill_seq, stream_of
from transforms.state import ORDER_NS
from transforms.tape_order import slot_by_slot

BTC: Final = Instrument("BTCUSDT", 3, 6)
DAY: Final = 20_000
DAY_BEGINS_NS: Final = DAY * DAY_NS


def message(seq: int, recv_ns: int, kind: int) -> Events:
    records = empty_events(2)
    records["seq"], records["recv_ns"], records["kind"], records["px"] = seq, recv_ns, kind, (1, 2)
    return mark_message(records)


def messages(first_seq: int, moments_s: range, kind: int, *, late_ns: int = 0) -> Events:
    return np.concatenate(
        [
            message(first_seq + at, DAY_BEGINS_NS + second * SECOND_NS + late_ns, kind)
            for at, second in enumerate(moments_s)
        ]
    )


def write_backfilled(root: Path, data_type: str, events: Events, *, part: str) -> None:
    with PartWriter(root, BTC, part=part, decoder_version=2, provenance="backfill") as writer:
        writer.append(events)
        filled = (int(events["recv_ns"].min()), int(events["recv_ns"].max()) + 1)
        writer.commit(backfill=Backfill(data_type=data_type, source="test", filled=(filled,)))


def history(root: Path) -> Events:
    """Live trades of 100 s with a hole of 40 s in the middle, filled, and klines through all of it, in every order."""
    live = [messages(1, range(30), TRADE), messages(31, range(70, 100), TRADE)]
    trades = messages(backfill_seq("trades", DAY), range(30, 70), TRADE, late_ns=SECOND_NS // 2)
    klines = messages(backfill_seq("klines", DAY), range(1, 100, 7), KLINE, late_ns=ORDER_NS - 1)
    for at, events in enumerate(live):
        write_events(root, BTC, events, part=f"live-{at}")
    write_backfilled(root, "klines", klines, part="backfill-klines")
    write_backfilled(root, "trades", trades, part="backfill-trades")
    return slot_by_slot(np.concatenate([trades, klines, *live]))


def first_ns(root: Path) -> int:
    raw = RawData(root)
    return first_message_ns(raw, raw.parts("BTCUSDT"))


def streamed(root: Path, from_ns: int, to_ns: int) -> list[tuple[Events, int]]:
    return list(stream_events(RawData(root), "BTCUSDT", kinds=range(KIND_COUNT), from_ns=from_ns, to_ns=to_ns))


@pytest.mark.parametrize("piece_records", [1, 7, 1 << 14])
def test_a_filled_hole_stands_in_time_and_within_a_slot_before_what_is_live(
    tmp_path: Path, piece_records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_events, "PIECE_RECORDS", piece_records)
    expected = history(tmp_path)
    for from_s, to_s in ((0, 101), (0, 50), (29, 72), (45, 46), (69, 101)):
        from_ns, to_ns = DAY_BEGINS_NS + from_s * SECOND_NS, DAY_BEGINS_NS + to_s * SECOND_NS
        pieces = streamed(tmp_path, from_ns, to_ns)
        of_period = expected[(expected["recv_ns"] >= from_ns) & (expected["recv_ns"] < to_ns)]
        assert np.array_equal(slot_by_slot(np.concatenate([piece for piece, _ in pieces])), of_period)
        for at, (_, following_ns) in enumerate(pieces):
            later = [int(piece["recv_ns"].min()) for piece, _ in pieces[at + 1 :]]
            assert following_ns <= min([*later, to_ns])


def test_memory_holds_a_piece_of_each_stream_and_not_a_whole_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_events, "PIECE_RECORDS", 4)
    history(tmp_path)
    pieces = streamed(tmp_path, DAY_BEGINS_NS, DAY_BEGINS_NS + DAY_NS)
    held = [int(piece["recv_ns"].max()) - following_ns for piece, following_ns in pieces]
    assert max(held) < 15 * SECOND_NS


def test_a_history_that_begins_with_what_was_backfilled_begins_there(tmp_path: Path) -> None:
    write_events(tmp_path, BTC, messages(1, range(50, 60), TRADE), part="live")
    assert first_ns(tmp_path) == DAY_BEGINS_NS + 50 * SECOND_NS
    later = messages(backfill_seq("trades", DAY), range(70, 80), TRADE)
    write_backfilled(tmp_path, "trades", later, part="backfill-later")
    assert first_ns(tmp_path) == DAY_BEGINS_NS + 50 * SECOND_NS
    earlier = messages(backfill_seq("klines", DAY), range(3, 9), KLINE)
    write_backfilled(tmp_path, "klines", earlier, part="backfill-earlier")
    assert first_ns(tmp_path) == DAY_BEGINS_NS + 3 * SECOND_NS


def test_the_tape_goes_on_as_if_nothing_had_been_backfilled(tmp_path: Path) -> None:
    history(tmp_path)
    assert known_last_seqs(tmp_path, "BTCUSDT") == [30, 60]


def test_every_data_type_has_seqs_of_its_own_that_rise_with_the_day() -> None:
    last_day = 1 << 16
    for rank, data_type in enumerate(BACKFILL_STREAMS):
        firsts = [backfill_seq(data_type, day) for day in (0, DAY, DAY + 1, last_day - 1)]
        assert firsts == sorted(firsts)
        assert {stream_of(first) for first in firsts} == {rank}
        assert stream_of(firsts[-1] + (1 << 40) - 1) == rank
        assert firsts[2] - firsts[1] >= 1 << 40
    with pytest.raises(InvalidRequest, match="must be one of orderbook, trades"):
        backfill_seq("positions", DAY)
