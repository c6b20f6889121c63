"""Tape order against numpy's stable sort."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.events import EVENT, FIRST, LAST, ORDERBOOK, TRADE, Events, empty_events
from transforms.state import ORDER_NS
from transforms.tape_order import EventColumns, earliest_ns, joined, merged, slot_by_slot

NAMES: Final = tuple(name for name in EVENT.names or () if name != "kind")
NEAR_A_SLOT: Final = st.sampled_from(
    [slot * ORDER_NS + offset for slot in range(4) for offset in (-1, 0, 1, ORDER_NS // 2)]
)


def records_at(*recv_ns: int) -> Events:
    records = empty_events(len(recv_ns))
    records["recv_ns"] = recv_ns
    records["seq"] = range(1, len(recv_ns) + 1)
    return records


def columns(kind: int, seqs: list[int], *, without: tuple[str, ...] = ()) -> EventColumns:
    """Records told apart by every field."""
    rows = np.arange(len(seqs))
    made = {name: (rows + 10 * place + kind).astype(EVENT[name]) for place, name in enumerate(NAMES)}
    made["seq"] = np.array(seqs, np.int64)
    return EventColumns(kind, {name: column for name, column in made.items() if name not in without})


def as_records(table: EventColumns) -> Events:
    records = empty_events(len(table))
    for name, column in table.columns.items():
        records[name] = column
    records["kind"] = table.kind
    return records


@given(st.lists(st.lists(st.integers(0, 12), max_size=8).map(sorted), min_size=1, max_size=5))
def test_merged_tables_stand_as_a_stable_sort_puts_them(seqs: list[list[int]]) -> None:
    tables = [columns(kind, of_table) for kind, of_table in enumerate(seqs)]
    behind = np.concatenate([as_records(table) for table in tables])
    expected = behind[np.argsort(behind["seq"], kind="stable")]
    is_update = (expected["kind"][1:] == ORDERBOOK) & (expected["update_id"][1:] != expected["update_id"][:-1])
    changes = (expected["seq"][1:] != expected["seq"][:-1]) | is_update
    expected["flags"] |= np.where(np.r_[True, changes], FIRST, 0) | np.where(np.r_[changes, True], LAST, 0)
    assert merged(tables).tolist() == expected[: len(behind)].tolist()


def test_a_field_that_was_not_read_is_zero() -> None:
    whole = merged([columns(ORDERBOOK, [1, 3]), columns(TRADE, [2])])
    left_out = ("event_ns", "update_id", "px", "qty", "field")
    sparse = merged([columns(ORDERBOOK, [1, 3], without=left_out), columns(TRADE, [2], without=left_out)])
    for name in EVENT.names or ():
        assert sparse[name].tolist() == ([0, 0, 0] if name in left_out else whole[name].tolist())


@given(st.lists(NEAR_A_SLOT))
def test_slot_by_slot_is_a_stable_sort_by_slot(recv_ns: list[int]) -> None:
    records = records_at(*recv_ns)
    slots = records["recv_ns"] // ORDER_NS
    expected = records[np.argsort(slots, kind="stable")]
    assert slot_by_slot(records).tolist() == expected.tolist()


@given(st.lists(NEAR_A_SLOT, min_size=1))
def test_the_earliest_record_may_stand_anywhere(recv_ns: list[int]) -> None:
    assert earliest_ns(records_at(*recv_ns)) == min(recv_ns)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_joined_pieces_stand_one_behind_the_other(count: int) -> None:
    pieces = [records_at(at, at) for at in range(count)]
    for piece in pieces:
        piece["flags"] = FIRST
    assert joined(pieces).tolist() == [record for piece in pieces for record in piece.tolist()]
