"""A part of raw Parquet as it is written: its tables and encodings, the same bytes again, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from market.errors import InvalidRequest
from market.events import ALL_KINDS as EVERY_KIND
from market.events import LAST, ORDERBOOK, TRADE, Events
from storage.raw.events import read_events
from storage.raw.manifest import entry_path
from storage.raw.parquet import PartWriter, write_events
from storage.raw.raw_data import RawData
from tests.raw_events import ALL_KINDS, BTC, EVER, MIDNIGHT_NS, message, same


def test_each_type_has_its_own_table_by_date_and_symbol(tmp_path: Path, tape: Events) -> None:
    paths = write_events(tmp_path, BTC, tape, part="0001")

    assert [str(path.relative_to(tmp_path)).rpartition("-")[0] for path in paths] == [
        "raw_funding/date=2024-10-04/symbol=BTCUSDT/part-0001",
        "raw_gaps/date=2024-10-03/symbol=BTCUSDT/part-0001",
        "raw_kline/date=2024-10-04/symbol=BTCUSDT/part-0001",
        "raw_orderbook_deltas/date=2024-10-04/symbol=BTCUSDT/part-0001",
        "raw_orderbook_snapshots/date=2024-10-03/symbol=BTCUSDT/part-0001",
        "raw_ticker/date=2024-10-04/symbol=BTCUSDT/part-0001",
        "raw_trades/date=2024-10-03/symbol=BTCUSDT/part-0001",
    ]
    assert (pq.read_schema(paths[0]).metadata or {})[b"decoder_version"] == b"1"
    assert all(not path.name.startswith(".") for path in tmp_path.rglob("*") if path.is_file())


def test_what_a_killed_writer_left_of_a_part_is_removed_and_what_is_being_written_of_others_is_not(
    tmp_path: Path, tape: Events
) -> None:
    paths = write_events(tmp_path, BTC, tape, part="0001")
    files = {path.with_name(path.name.rpartition("-")[0] + ".parquet") for path in paths}
    left = [path.with_name(f".{path.name}.host-1-2") for path in (*files, entry_path(tmp_path, BTC.symbol, "0001"))]
    others = [path.with_name(path.name.replace("0001", "0001-2")) for path in left]
    for path in (*left, *others):
        path.touch()
    write_events(tmp_path, BTC, tape, part="0001")
    assert {path for path in tmp_path.rglob(".*") if path.is_file()} == set(others)


@pytest.mark.parametrize(("levels", "of_the_message"), [(7, "DELTA_BINARY_PACKED"), (8, "PLAIN")])
def test_the_columns_have_the_measured_encodings(tmp_path: Path, levels: int, of_the_message: str) -> None:
    tape = np.concatenate([message(seq, MIDNIGHT_NS, ORDERBOOK, levels=levels) for seq in range(1, 4)])
    group = pq.read_metadata(write_events(tmp_path, BTC, tape, part="0")[0]).row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    for name in ("seq", "recv_ns", "event_ns", "update_id"):
        assert set(encodings[name]) - {"RLE"} == {of_the_message}
    for name in ("px", "qty"):
        assert "RLE_DICTIONARY" in encodings[name]
    for name in ("field", "flags"):
        assert set(encodings[name]) - {"RLE"} == {"PLAIN"}
    assert {group.column(i).compression for i in range(group.num_columns)} == {"LZ4"}


def test_a_delta_that_is_not_marked_is_refused(tmp_path: Path) -> None:
    tape = message(7, MIDNIGHT_NS, ORDERBOOK, levels=3)
    tape["flags"][1] = LAST
    with pytest.raises(InvalidRequest, match="was otherwise at seq 7"):
        write_events(tmp_path, BTC, tape, part="0")


def test_the_same_events_give_the_same_bytes(tmp_path: Path, tape: Events) -> None:
    one, other = (write_events(tmp_path / name, BTC, tape, part="0") for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_part_of_the_same_name_is_replaced(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape, part="0")
    tape["px"] += 1
    paths = write_events(tmp_path, BTC, tape, part="0")
    assert sorted(tmp_path.rglob("*.parquet")) == paths
    assert same(read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER), tape)


def test_events_whose_order_the_files_could_not_tell_are_refused(tmp_path: Path) -> None:
    trade, book = message(2, MIDNIGHT_NS, TRADE), message(2, MIDNIGHT_NS, ORDERBOOK)
    unknown = message(1, MIDNIGHT_NS, EVERY_KIND)
    for events, rule in (
        (np.concatenate([trade, message(1, MIDNIGHT_NS, TRADE)]), "seq must not fall, was 1 after 2"),
        (np.concatenate([trade, book]), "was two at seq 2"),
        (np.concatenate([trade, message(2, MIDNIGHT_NS + 1, TRADE)]), "was two at seq 2"),
        (unknown, f"kind must be 0 to {EVERY_KIND - 1}, was {EVERY_KIND}"),
    ):
        with pytest.raises(InvalidRequest, match=rule):
            write_events(tmp_path, BTC, events, part="0")
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_part_in_pieces_is_the_part_in_one(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path / "one", BTC, tape, part="0")
    with PartWriter(tmp_path / "other", BTC, part="0", decoder_version=1) as writer:
        for seq in range(1, 8):
            writer.append(tape[tape["seq"] == seq])
        writer.commit()
    assert RawData(tmp_path / "one").parts("BTCUSDT") == RawData(tmp_path / "other").parts("BTCUSDT")


def test_what_is_not_committed_is_not_there_and_leaves_nothing(tmp_path: Path, tape: Events) -> None:
    with PartWriter(tmp_path, BTC, part="0", decoder_version=1) as writer:
        writer.append(tape)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
