"""Every law at any tick of any row grid: no row depends on the grid, on the ticks computed, on cuts or on restarts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS, ceil_to, floor_to
from market.errors import CorruptStore, InvalidRequest
from market.events import Events
from tests.examples import examples
from tests.laws.columns import declared_range, horizons_ns, status_horizons_ns
from tests.laws.messages import MIDNIGHT_NS, book_message, tape, trade_message
from tests.laws.running import assert_same, begin, end_of, joined, reasons_of, run, safe_watermark
from tests.laws.streams import tapes, tapes_with_cut
from tests.laws.test_future import another_future
from tests.laws.test_unknown import is_too_early
from transforms.kernel import Kernel
from transforms.rows import FeatureRows
from transforms.state import GRIDS_NS, ORDER_NS
from transforms.status import OK

BeforeAt = Callable[[int], bytes | None]
grids = st.sampled_from(GRIDS_NS)
fine_grids = st.sampled_from(GRIDS_NS[:-1])


def drawn_ticks(data: st.DataObject, events: Events, grid_ns: int, *, size: int = 12) -> npt.NDArray[np.int64]:
    """Ticks around messages, and a window's length and a little after them, where an edge would show."""
    times_ns = st.sampled_from(events["recv_ns"].tolist())
    after_ns = st.sampled_from((0, 0, 1, SECOND_NS, 3 * SECOND_NS, 15 * SECOND_NS, 60 * SECOND_NS, 61 * SECOND_NS))
    steps = st.integers(-1, 2)
    drawn = data.draw(st.lists(st.tuples(times_ns, after_ns, steps), min_size=1, max_size=size))
    first_ns = floor_to(int(events["recv_ns"][0]), grid_ns) + grid_ns
    return np.unique([max(floor_to(at + after, grid_ns) + step * grid_ns, first_ns) for at, after, step in drawn])


def rows_at(
    kernel: Kernel,
    events: Events,
    ticks: npt.NDArray[np.int64],
    grid_ns: int,
    *,
    checkpoint: bytes | None = None,
    start_ns: int | None = None,
) -> FeatureRows:
    """The rows at these ticks of an engine that is fed everything at once."""
    engine = begin(kernel, checkpoint, start_ns=start_ns, grid_ns=grid_ns)
    engine.feed(events)
    return engine.rows_at(ticks, int(ticks[-1]))


@settings(max_examples=examples(15))
@given(data=st.data())
def test_a_row_at_a_tick_is_the_same_on_every_grid_that_has_it(
    kernel: Kernel, before_at: BeforeAt, data: st.DataObject
) -> None:
    events = data.draw(tapes(edges_ns=GRIDS_NS, is_warm=before_at(SECOND_NS) is not None))
    grid_ns, finer_ns = data.draw(grids), ORDER_NS
    ticks = drawn_ticks(data, events, grid_ns)
    one, other = (rows_at(kernel, events, ticks, each, checkpoint=before_at(each)) for each in (grid_ns, finer_ns))
    assert_same(one, other)


@settings(max_examples=examples(15))
@given(data=st.data())
def test_what_is_served_depends_on_neither_the_ticks_passed_over_nor_the_cuts_nor_restarts(
    kernel: Kernel, before_at: BeforeAt, data: st.DataObject
) -> None:
    """Whole seconds are those of a grid of whole seconds, ticks those that are computed alone."""
    grid_ns = data.draw(fine_grids)
    events = data.draw(tapes(edges_ns=GRIDS_NS, is_warm=before_at(grid_ns) is not None))
    engine = begin(kernel, before_at(grid_ns), grid_ns=grid_ns)
    pieces: list[FeatureRows] = []
    fed = 0
    for cut in [*sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=8))), len(events)]:
        engine.feed(events[fed:cut])
        fed = cut
        latest_ns = safe_watermark(events, fed)
        if latest_ns is not None:
            back_ns = data.draw(st.sampled_from((0, 1, grid_ns - 1, grid_ns, SECOND_NS)))
            pieces.append(engine.advance(latest_ns - back_ns))
        if data.draw(st.booleans()):
            checkpoint = engine.checkpoint()
            engine = begin(kernel, checkpoint, grid_ns=grid_ns)
    until_ns = end_of(events) + data.draw(st.sampled_from((0, grid_ns, SECOND_NS - 1)))
    pieces += [engine.advance(until_ns - 3 * SECOND_NS), engine.advance(until_ns)]
    served = joined(pieces)
    is_whole = served.row_ns % SECOND_NS == 0
    whole = run(kernel, events, until_ns, checkpoint=before_at(SECOND_NS))
    assert_same(served.only(is_whole), whole)
    between = served.row_ns[~is_whole]
    if len(between):
        expected = rows_at(kernel, events, between, ORDER_NS, checkpoint=before_at(ORDER_NS))
        assert_same(served.only(~is_whole), expected)
    assert (np.diff(served.row_ns) > 0).all()


@settings(max_examples=examples(15))
@given(data=st.data())
def test_what_arrives_at_a_tick_or_later_never_changes_its_row(
    kernel: Kernel, before_at: BeforeAt, data: st.DataObject
) -> None:
    events = data.draw(tapes(edges_ns=GRIDS_NS, is_warm=before_at(ORDER_NS) is not None))
    around_ns = int(data.draw(st.sampled_from(events["recv_ns"].tolist())))
    tick_ns = max(floor_to(around_ns, ORDER_NS), floor_to(int(events["recv_ns"][0]), ORDER_NS) + ORDER_NS)
    is_past = events["recv_ns"] < tick_ns
    changed = tape([events[is_past], another_future(data, events[~is_past], tick_ns)])
    ticks = np.arange(
        max(tick_ns - 2 * ORDER_NS, floor_to(int(events["recv_ns"][0]), ORDER_NS) + ORDER_NS), tick_ns + 1, ORDER_NS
    )
    one, other = (rows_at(kernel, each, ticks, ORDER_NS, checkpoint=before_at(ORDER_NS)) for each in (events, changed))
    assert_same(one, other)


@settings(max_examples=examples(15))
@given(data=st.data(), drawn=tapes_with_cut(edges_ns=GRIDS_NS))
def test_any_start_a_horizon_before_a_tick_gives_the_same_row(
    kernel: Kernel, data: st.DataObject, drawn: tuple[Events, int]
) -> None:
    events, cut_ns = drawn
    later = events[events["recv_ns"] >= cut_ns]
    edges_ns = sorted({int(h) for h in horizons_ns(kernel.feature_set) if h <= 400 * SECOND_NS})
    reached = [ceil_to(cut_ns + edge_ns, ORDER_NS) + step * ORDER_NS for edge_ns in edges_ns for step in (0, 1)]
    first_ns = floor_to(cut_ns, ORDER_NS) + ORDER_NS
    around = [tick for tick in drawn_ticks(data, later, ORDER_NS).tolist() if tick >= first_ns]
    ticks = np.unique([*around, *(max(tick, first_ns) for tick in reached)])
    whole = rows_at(kernel, events, ticks, ORDER_NS)
    part = rows_at(kernel, later, ticks, ORDER_NS, start_ns=cut_ns)
    history_ns = (ticks - cut_ns)[:, None]
    cells = history_ns >= horizons_ns(kernel.feature_set)[None, :]
    groups = history_ns >= status_horizons_ns(kernel.feature_set)[None, :]
    assert_same(whole, part, cells, groups)


@settings(max_examples=examples(15))
@given(data=st.data())
def test_a_value_at_a_tick_is_nan_exactly_when_there_is_a_reason_and_else_lies_in_its_range(
    kernel: Kernel, before_at: BeforeAt, data: st.DataObject
) -> None:
    events = data.draw(tapes(edges_ns=GRIDS_NS, is_warm=before_at(ORDER_NS) is not None))
    ticks = drawn_ticks(data, events, ORDER_NS, size=30)
    rows = rows_at(kernel, events, ticks, ORDER_NS, checkpoint=before_at(ORDER_NS))
    is_unknown = np.isnan(rows.values)
    assert (is_unknown == (reasons_of(rows) != OK)).all()
    bits = rows.values.view(np.int64)
    assert set(bits[is_unknown].tolist()) <= {np.array([math.nan]).view(np.int64)[0]}, "every NaN is the same"
    assert not (bits == np.array([-0.0]).view(np.int64)[0]).any(), "there is one zero"
    for column, name in enumerate(kernel.feature_set.columns):
        known = rows.values[~is_unknown[:, column], column]
        low, high = declared_range(name)
        assert (np.isfinite(known) & (low <= known) & (known <= high)).all(), (name, low, high, known)
    if before_at(ORDER_NS) is None:
        assert np.isnan(rows.values[is_too_early(kernel.feature_set, events, ticks)]).all()


@pytest.mark.parametrize("grid_ns", GRIDS_NS)
def test_within_a_slot_records_are_applied_in_order_of_arrival_whatever_their_stamps(
    kernel: Kernel, grid_ns: int
) -> None:
    """What is on the tape later knows of what came before it; of two slots the earlier one goes first."""
    at = kernel.feature_set.columns.index("microprice")
    slot_ns = MIDNIGHT_NS + SECOND_NS - ORDER_NS
    books = [
        book_message(slot_ns + after_ns, 5, bids=[(px, 1)], asks=[(px + 2, 1)], is_snapshot=True)
        for after_ns, px in ((-1, 100_000), (ORDER_NS - 1, 200_000), (1, 300_000), (-2, 400_000))
    ]
    rows = rows_at(kernel, tape(books), np.array([MIDNIGHT_NS + SECOND_NS]), grid_ns)
    [alone] = rows_at(kernel, tape(books[2:3]), rows.row_ns, grid_ns).values[:, at]
    assert rows.values[0, at] == alone


def test_ticks_before_the_first_record_and_off_the_grid_have_no_rows(kernel: Kernel) -> None:
    events = tape([trade_message(MIDNIGHT_NS + 3 * ORDER_NS, (0, 100_000, 5))])
    engine = begin(kernel, grid_ns=2 * ORDER_NS)
    with pytest.raises(InvalidRequest, match="must be asked for in order, after None"):
        engine.rows_at(np.array([MIDNIGHT_NS + SECOND_NS]), MIDNIGHT_NS + SECOND_NS)
    engine.feed(events)
    assert engine.closed_ns == MIDNIGHT_NS
    assert engine.advance(MIDNIGHT_NS + 3 * ORDER_NS).row_ns.tolist() == []
    assert engine.closed_ns == MIDNIGHT_NS + 2 * ORDER_NS
    assert engine.advance(MIDNIGHT_NS + 4 * ORDER_NS).row_ns.tolist() == [MIDNIGHT_NS + 4 * ORDER_NS]
    for wrong in (MIDNIGHT_NS + 4 * ORDER_NS, MIDNIGHT_NS + 7 * ORDER_NS, MIDNIGHT_NS + 10 * ORDER_NS):
        with pytest.raises(InvalidRequest, match="rows: must be"):
            engine.rows_at(np.array([wrong]), MIDNIGHT_NS + 8 * ORDER_NS)


def test_a_record_before_the_last_closed_tick_is_refused(kernel: Kernel) -> None:
    engine = begin(kernel, grid_ns=ORDER_NS)
    engine.feed(tape([trade_message(MIDNIGHT_NS, (0, 100_000, 5))]))
    engine.advance(MIDNIGHT_NS + 3 * ORDER_NS)
    engine.feed(tape([trade_message(MIDNIGHT_NS + 3 * ORDER_NS, (0, 100_000, 5))]))
    with pytest.raises(CorruptStore, match="must not be before"):
        engine.feed(tape([trade_message(MIDNIGHT_NS + 3 * ORDER_NS - 1, (0, 100_000, 5))]))


def test_a_checkpoint_of_another_grid_is_refused(kernel: Kernel) -> None:
    with pytest.raises(CorruptStore, match="must be of a row grid of 50000000 ns, was 1000000000"):
        begin(kernel, grid_ns=ORDER_NS).restore(begin(kernel).checkpoint())
