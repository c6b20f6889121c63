"""Streaming raw Parquet: the pieces are what one read returns, each of whole messages, none larger than it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypedDict

import numpy as np
import pytest

from market.clock import DAY_NS, SECOND_NS
from market.events import FIRST, KIND_COUNT, LAST, ORDERBOOK, TRADE, Events, empty_events, mark_message
from market.instruments import Instrument
from storage.raw import events as raw_events
from storage.raw.events import read_events, stream_events, stream_heads
from storage.raw.file import SCHEMA
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData

BTC = Instrument("BTCUSDT", 3, 6)
MIDNIGHT_NS = 20_000 * DAY_NS
ALL_KINDS = range(KIND_COUNT)


class Period(TypedDict):
    from_ns: int
    to_ns: int


EVER: Final[Period] = {"from_ns": MIDNIGHT_NS, "to_ns": MIDNIGHT_NS + DAY_NS}
ROW_GROUP_ROWS = 1 << 18


def message(seq: int, kind: int, levels: int) -> Events:
    records = empty_events(levels)
    records["seq"], records["recv_ns"], records["kind"] = seq, MIDNIGHT_NS + seq * SECOND_NS, kind
    records["px"] = np.arange(levels)
    return mark_message(records)


def pieces_of(root: Path) -> list[Events]:
    return [piece for piece, _ in stream_events(RawData(root), "BTCUSDT", kinds=ALL_KINDS, **EVER)]


def assert_whole_and_joined(pieces: list[Events], expected: Events) -> None:
    for piece in pieces:
        assert piece["flags"][0] & FIRST
        assert piece["flags"][-1] & LAST
    assert np.array_equal(np.concatenate(pieces), expected)


def test_a_message_that_two_row_groups_share_comes_in_one_piece(tmp_path: Path) -> None:
    events = np.concatenate(
        [message(1, ORDERBOOK, ROW_GROUP_ROWS - 1), message(2, ORDERBOOK, 2), message(3, ORDERBOOK, 1)]
    )
    write_events(tmp_path, BTC, events, part="0")
    pieces = pieces_of(tmp_path)

    assert [len(piece) for piece in pieces] == [ROW_GROUP_ROWS - 1, 3]
    assert_whole_and_joined(pieces, events)


def test_parts_of_two_tables_are_merged_and_no_piece_waits_for_a_later_part(tmp_path: Path) -> None:
    messages = [message(seq, TRADE if seq % 3 else ORDERBOOK, 1 + seq % 4) for seq in range(1, 41)]
    for start in range(0, 40, 10):
        # Named against the order of the tape, which the names do not tell.
        write_events(tmp_path, BTC, np.concatenate(messages[start : start + 10]), part=f"{90 - start}")
    pieces = pieces_of(tmp_path)
    events = np.concatenate(messages)

    assert_whole_and_joined(pieces, events)
    assert max(len(np.unique(piece["seq"])) for piece in pieces) <= 10
    assert np.array_equal(read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER), events)


def test_heads_alone_are_the_first_record_of_each_message_and_of_each_update_of_a_book(tmp_path: Path) -> None:
    shared = message(2, ORDERBOOK, 3)  # by two row groups
    several = np.concatenate([message(3, ORDERBOOK, 2), message(3, ORDERBOOK, 1)])
    several["update_id"] = [7, 7, 8]
    events = np.concatenate([message(1, ORDERBOOK, ROW_GROUP_ROWS - 1), shared, several, message(4, TRADE, 5)])
    write_events(tmp_path, BTC, events, part="0")
    whole = np.concatenate(pieces_of(tmp_path))
    heads = list(stream_heads(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER, fields=SCHEMA.names))

    found, expected = np.concatenate(heads), whole[(whole["flags"] & FIRST) != 0]
    assert found["seq"].tolist() == [1, 2, 3, 3, 4]
    assert found["update_id"].tolist() == [0, 0, 7, 8, 0]
    assert all(found["flags"] & FIRST)
    for name in ("recv_ns", "px", "kind"):
        assert np.array_equal(found[name], expected[name])


def test_nothing_to_read_is_no_piece(tmp_path: Path) -> None:
    assert pieces_of(tmp_path) == []
    write_events(tmp_path, BTC, message(1, TRADE, 1), part="0")
    assert list(stream_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, from_ns=0, to_ns=MIDNIGHT_NS)) == []


@pytest.mark.parametrize("piece_records", [1, 7, 1000])
def test_pieces_are_cut_between_messages_and_say_what_no_later_one_precedes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_records: int
) -> None:
    monkeypatch.setattr(raw_events, "PIECE_RECORDS", piece_records)
    messages = [message(seq, TRADE if seq % 3 else ORDERBOOK, 1 + seq % 4) for seq in range(1, 41)]
    for late in (9, 10, 30):
        messages[late]["recv_ns"] -= 5 * SECOND_NS
    events = np.concatenate(messages)
    write_events(tmp_path, BTC, events, part="0")
    pieces = list(stream_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER))

    assert_whole_and_joined([piece for piece, _ in pieces], events)
    assert len(pieces) >= len(messages) // (3 * piece_records)
    ends = np.cumsum([len(piece) for piece, _ in pieces])
    expected = [min([EVER["to_ns"], *events["recv_ns"][end:].tolist()]) for end in ends]
    assert [least_ns for _, least_ns in pieces] == expected
