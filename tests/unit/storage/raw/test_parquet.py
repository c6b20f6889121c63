"""Raw Parquet: events in any parts come back bit for bit in tape order, of the period and the symbol asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.errors import NotFound
from market.events import (
    CONTROL,
    FUNDING_RATE,
    MARK_PRICE,
    NEXT_FUNDING,
    ORDERBOOK,
    TICKER,
    TICKER_FIELD_COUNT,
    TRADE,
    Events,
    empty_events,
)
from market.instruments import Instrument
from storage.raw.events import last_snapshot_ns, read_events, stream_events
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.raw_events import ALL_KINDS, BTC, EVER, MIDNIGHT_NS, message, same, tapes


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
