"""Raw Parquet: events in any parts come back bit for bit in tape order, and a file that lies is corrupt."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.errors import CorruptStore, InvalidRequest, NotFound
from market.events import ALL_KINDS as EVERY_KIND
from market.events import (
    CONTROL,
    EVENT,
    FIRST,
    FUNDING_RATE,
    KIND_COUNT,
    KLINE,
    LAST,
    MARK_PRICE,
    NEXT_FUNDING,
    ORDERBOOK,
    SNAPSHOT,
    TICKER,
    TICKER_FIELD_COUNT,
    TRADE,
    Events,
    empty_events,
    mark_message,
)
from market.instruments import Instrument
from storage.raw.events import last_snapshot_ns, read_events, stream_events
from storage.raw.manifest import entry_path
from storage.raw.parquet import PartWriter, write_events
from storage.raw.raw_data import RawData

BTC = Instrument("BTCUSDT", 3, 6)
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
ALL_KINDS = range(KIND_COUNT)


class Period(TypedDict):
    from_ns: int
    to_ns: int


EVER: Final[Period] = {"from_ns": -(2**62), "to_ns": 2**62}
INT64 = st.integers(-(2**63), 2**63 - 1)


def message(seq: int, recv_ns: int, kind: int, *, is_snapshot: bool = False, levels: int = 1) -> Events:
    records = empty_events(levels)
    records["seq"], records["recv_ns"], records["kind"] = seq, recv_ns, kind
    records["event_ns"] = recv_ns - 5
    records["px"] = np.arange(levels) - 7
    records["qty"] = 1000
    records["flags"] = SNAPSHOT if is_snapshot else 0
    return mark_message(records)


def same(one: Events, other: Events) -> bool:
    """Every bit of every field; the padding between records means nothing and numpy leaves it to chance."""
    return one.dtype == other.dtype == EVENT and np.array_equal(one, other)


@st.composite
def tapes(draw: st.DrawFn) -> list[Events]:
    messages = []
    seq, recv_ns = 0, MIDNIGHT_NS
    for _ in range(draw(st.integers(0, 12))):
        seq += draw(st.integers(1, 3))
        recv_ns += draw(st.sampled_from([0, 1, -1, SECOND_NS, DAY_NS - 1, DAY_NS, -DAY_NS]))
        records = message(
            seq,
            recv_ns,
            draw(st.sampled_from(ALL_KINDS)),
            is_snapshot=draw(st.booleans()),
            levels=draw(st.integers(1, 4)),
        )
        for name in ("event_ns", "update_id", "px", "qty"):
            records[name] = draw(st.lists(INT64, min_size=len(records), max_size=len(records)))
        if records["kind"][0] == ORDERBOOK:
            _mark_updates(records)
        records["field"] = draw(st.integers(-128, 127))
        messages.append(records)
    return messages


def _mark_updates(records: Events) -> None:
    """A snapshot is one update; a delta may bring several, each marked FIRST and LAST."""
    if records["flags"][0] & SNAPSHOT:
        records["update_id"] = records["update_id"][0]
        return
    changes = records["update_id"][1:] != records["update_id"][:-1]
    records["flags"] = np.where(np.r_[True, changes], FIRST, 0) | np.where(np.r_[changes, True], LAST, 0)


@pytest.fixture
def tape() -> Events:
    """Every kind, two dates, one snapshot."""
    return np.concatenate(
        [
            message(1, MIDNIGHT_NS - 2, CONTROL),
            message(2, MIDNIGHT_NS - 2, ORDERBOOK, is_snapshot=True, levels=3),
            message(3, MIDNIGHT_NS - 1, TRADE, levels=2),
            message(4, MIDNIGHT_NS, ORDERBOOK, levels=2),
            message(5, MIDNIGHT_NS, KLINE, levels=6),
            message(6, MIDNIGHT_NS + 1, TICKER),
            message(7, MIDNIGHT_NS + 1, ORDERBOOK),
        ]
    )


@settings(max_examples=60, deadline=None)
@given(messages=tapes(), cuts=st.sets(st.integers(1, 11)), wanted=st.sets(st.sampled_from(ALL_KINDS)))
def test_events_written_in_any_parts_are_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Events], cuts: set[int], wanted: set[int]
) -> None:
    root = tmp_path_factory.mktemp("raw")
    edges = [0, *sorted(cut for cut in cuts if cut < len(messages)), len(messages)]
    for number, (start, end) in reversed(list(enumerate(pairwise(edges)))):
        write_events(root, BTC, np.concatenate([empty_events(), *messages[start:end]]), part=str(number))
    events = np.concatenate([empty_events(), *messages])
    expected = events.take(np.flatnonzero(np.isin(events["kind"], [CONTROL, *wanted])))

    assert same(read_events(RawData(root), "BTCUSDT", kinds=wanted, **EVER), expected)
    if messages:
        assert RawData(root).period("BTCUSDT") == (events["recv_ns"].min(), events["recv_ns"].max())


@settings(max_examples=60, deadline=None)
@given(messages=tapes(), edges=st.tuples(*[st.sampled_from([-1, 0, 1, SECOND_NS, DAY_NS - 1, DAY_NS, 2 * DAY_NS])] * 2))
def test_a_period_is_closed_on_the_left_and_open_on_the_right(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Events], edges: tuple[int, int]
) -> None:
    root = tmp_path_factory.mktemp("raw")
    events = np.concatenate([empty_events(), *messages])
    write_events(root, BTC, events, part="0")
    from_ns, to_ns = (MIDNIGHT_NS + edge for edge in edges)
    expected = events.take(np.flatnonzero((events["recv_ns"] >= from_ns) & (events["recv_ns"] < to_ns)))

    read = read_events(RawData(root), "BTCUSDT", kinds=ALL_KINDS, from_ns=from_ns, to_ns=to_ns)
    assert same(read, expected)


@settings(max_examples=40, deadline=None)
@given(messages=tapes(), cuts=st.sets(st.integers(1, 11)))
def test_no_event_of_a_stream_precedes_the_time_given_with_the_piece_before_it(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Events], cuts: set[int]
) -> None:
    root = tmp_path_factory.mktemp("raw")
    edges = [0, *sorted(cut for cut in cuts if cut < len(messages)), len(messages)]
    for number, (start, end) in enumerate(pairwise(edges)):
        write_events(root, BTC, np.concatenate([empty_events(), *messages[start:end]]), part=str(number))
    pieces = list(stream_events(RawData(root), "BTCUSDT", kinds=ALL_KINDS, **EVER))
    for index, (_, least_ns) in enumerate(pieces):
        following = [int(events["recv_ns"].min()) for events, _ in pieces[index + 1 :]]
        assert least_ns == min([*following, EVER["to_ns"]])


def test_the_newest_snapshot_up_to_a_time_is_found_in_whatever_part(tmp_path: Path) -> None:
    assert last_snapshot_ns(RawData(tmp_path), [], MIDNIGHT_NS) is None
    for index, offset in enumerate((-DAY_NS, 0, 5)):
        events = message(index + 1, MIDNIGHT_NS + offset, ORDERBOOK, is_snapshot=True, levels=2)
        write_events(tmp_path, BTC, events, part=str(index))
    write_events(tmp_path, BTC, message(9, MIDNIGHT_NS + 7, ORDERBOOK), part="9")
    for latest, expected in ((-DAY_NS - 1, None), (-1, -DAY_NS), (0, 0), (4, 0), (5, 5), (99, 5)):
        found = last_snapshot_ns(RawData(tmp_path), RawData(tmp_path).parts("BTCUSDT"), MIDNIGHT_NS + latest)
        assert found == (None if expected is None else MIDNIGHT_NS + expected)


def test_a_lone_event_is_in_the_period_that_begins_with_it_and_not_in_the_one_that_ends_there(tmp_path: Path) -> None:
    write_events(tmp_path, BTC, message(1, MIDNIGHT_NS, TRADE), part="0")
    for from_ns, to_ns, count in (
        (MIDNIGHT_NS, MIDNIGHT_NS + 1, 1),
        (MIDNIGHT_NS - 1, MIDNIGHT_NS, 0),
        (MIDNIGHT_NS + 1, MIDNIGHT_NS + 2, 0),
        (MIDNIGHT_NS, MIDNIGHT_NS, 0),
    ):
        assert len(read_events(RawData(tmp_path), "BTCUSDT", kinds=[TRADE], from_ns=from_ns, to_ns=to_ns)) == count


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


def test_funding_is_what_the_tickers_say_of_it_and_is_read_with_no_kind(tmp_path: Path) -> None:
    stated = message(3, MIDNIGHT_NS, TICKER, levels=TICKER_FIELD_COUNT)
    stated["field"] = range(TICKER_FIELD_COUNT)
    silent = message(4, MIDNIGHT_NS, TICKER)
    silent["field"] = MARK_PRICE
    tape = np.concatenate([stated, silent])
    paths = write_events(tmp_path, BTC, tape, part="0")
    assert [path.relative_to(tmp_path).parts[0] for path in paths] == ["raw_funding", "raw_ticker"]
    funding = pq.read_table(paths[0])
    assert funding["field"].to_pylist() == [FUNDING_RATE, NEXT_FUNDING]
    assert funding["px"].to_pylist() == stated["px"][[FUNDING_RATE, NEXT_FUNDING]].tolist()
    assert funding["seq"].to_pylist() == [3, 3]
    assert same(read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER), tape)


@pytest.mark.parametrize(("levels", "is_dictionary"), [(7, False), (8, True)])
def test_the_columns_have_the_measured_encodings(tmp_path: Path, levels: int, is_dictionary: bool) -> None:  # noqa: FBT001
    tape = np.concatenate([message(seq, MIDNIGHT_NS, ORDERBOOK, levels=levels) for seq in range(1, 4)])
    group = pq.read_metadata(write_events(tmp_path, BTC, tape, part="0")[0]).row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    for name in ("seq", "recv_ns", "event_ns", "update_id"):
        assert ("RLE_DICTIONARY" if is_dictionary else "DELTA_BINARY_PACKED") in encodings[name]
    for name in ("px", "qty", "field", "flags"):
        assert "RLE_DICTIONARY" in encodings[name]
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


def test_symbols_do_not_mix(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape, part="0")
    write_events(tmp_path, Instrument("ETHUSDT", 4, 5), tape[:1], part="0")

    assert RawData(tmp_path).symbols() == ["BTCUSDT", "ETHUSDT"]
    assert RawData(tmp_path).instrument("ETHUSDT") == Instrument("ETHUSDT", 4, 5)
    assert len(read_events(RawData(tmp_path), "ETHUSDT", kinds=ALL_KINDS, **EVER)) == 1


def test_no_events_are_empty_and_no_symbol_is_not_found(tmp_path: Path) -> None:
    assert write_events(tmp_path, BTC, empty_events(), part="0") == []
    assert RawData(tmp_path).symbols() == []
    assert len(read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)) == 0
    for ask in (RawData(tmp_path).instrument, RawData(tmp_path).period):
        with pytest.raises(NotFound, match="raw Parquet of BTCUSDT"):
            ask("BTCUSDT")


def test_parts_of_another_scale_are_corrupt(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape[:1], part="0")
    write_events(tmp_path, Instrument("BTCUSDT", 2, 6), tape[1:], part="1")
    with pytest.raises(CorruptStore, match="scale must be that of"):
        RawData(tmp_path).instrument("BTCUSDT")
    with pytest.raises(CorruptStore, match="scale must be that of"):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)


def test_a_message_in_two_parts_is_corrupt(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape, part="0")
    write_events(tmp_path, BTC, tape, part="1")
    with pytest.raises(CorruptStore, match="seq must be in one part, was 1 in 0 and 1"):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)


def cut_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_bit(path: Path) -> None:
    """One bit inside the last page of the first column."""
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_end, flip_bit])
def test_damaged_bytes_are_corrupt_and_name_the_file(
    tmp_path: Path, tape: Events, damage: Callable[[Path], None]
) -> None:
    path = write_events(tmp_path, BTC, tape, part="0")[1]
    damage(path)
    with pytest.raises(CorruptStore, match=f"{path}: must be whole Parquet"):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=(), **EVER)


def test_a_file_of_another_symbol_or_shape_is_corrupt(tmp_path: Path, tape: Events) -> None:
    path = write_events(tmp_path, BTC, tape[:1], part="0")[0]
    table = pq.read_table(path)
    for content, rule in (
        (
            table.replace_schema_metadata({**table.schema.metadata, b"symbol": b"ETHUSDT"}),
            "must hold 1 records of BTCUSDT, was 1 of ETHUSDT",
        ),
        (table.replace_schema_metadata({b"symbol": b"BTCUSDT"}), "bytes of its manifest"),
        (pa.concat_tables([table, table]), "must hold 1 records of BTCUSDT, was 2"),
        (table.drop_columns(["px"]), "columns must be"),
        (table.set_column(4, "px", table["px"].cast(pa.float64())), "columns must be"),
    ):
        pq.write_table(content, path)
        with pytest.raises(CorruptStore, match=rule):
            read_events(RawData(tmp_path), "BTCUSDT", kinds=(), **EVER)


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


def test_readers_believe_the_manifest_alone(tmp_path: Path, tape: Events) -> None:
    paths = write_events(tmp_path, BTC, tape, part="0")
    stray = paths[1].with_name("part-stray.parquet")
    stray.write_bytes(b"half of a Parquet")
    assert same(read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER), tape)
    pieces = list(stream_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER))
    assert same(np.concatenate([events for events, _ in pieces]), tape)
    paths[1].unlink()
    with pytest.raises(CorruptStore, match=str(paths[1])):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)


def test_every_changed_byte_of_a_manifest_entry_is_corrupt_and_named(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape, part="0")
    path = entry_path(tmp_path, "BTCUSDT", "0")
    whole = path.read_bytes()
    for position in range(len(whole) - 1):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CorruptStore, match=str(path)):
            RawData(tmp_path).parts("BTCUSDT")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptStore, match=str(path)):
        RawData(tmp_path).parts("BTCUSDT")
