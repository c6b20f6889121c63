"""A window is what was summed at its end less what was at its begin, whole and nothing else, at any tick."""

from __future__ import annotations

import pytest

from market.clock import SECOND_NS
from market.events import BUY, SELL
from tests.laws.messages import MIDNIGHT_NS, trade_message
from transforms.state import GRIDS_NS, ORDER_NS, SECONDS_KEPT, TILE_COUNT, State, new_state
from transforms.steps import begin_tile, end_tile, start
from transforms.tiles import apply_trade_record, end_before, quote_window, trade_window

NOTHING = (0, 0, 0, 0, 0, 0)


def closed_at(row_ns: int, *times_ns: int, grid_ns: int) -> State:
    """Tiles up to ``row_ns``, with a buy of 5 and a sale of 3 at 100 at each time, and 400 s without before it."""
    state = new_state(price_scale=100.0, quantity_scale=1000.0, tile_ns=grid_ns)
    start(state[0], row_ns - 400 * SECOND_NS)
    waiting = sorted(times_ns)
    while (end_ns := int(state["next_end_ns"][0])) <= row_ns:
        while waiting and waiting[0] < end_ns:
            time_ns = waiting.pop(0)
            for record in trade_message(time_ns, (BUY, 100, 5), (SELL, 100, 3)):
                apply_trade_record(state["sums"][0], record)
        end_tile(state[0])
        begin_tile(state[0])
    return state


@pytest.mark.parametrize("grid_ns", GRIDS_NS)
@pytest.mark.parametrize(
    ("before_row_ns", "is_inside"),
    [(1, True), (SECOND_NS, True), (15 * SECOND_NS, True), (15 * SECOND_NS + 1, False), (0, False)],
)
def test_a_window_is_closed_on_the_left_and_open_on_the_right(
    before_row_ns: int,
    is_inside: bool,  # noqa: FBT001  # a table
    grid_ns: int,
) -> None:
    row_ns = MIDNIGHT_NS + 100 * SECOND_NS + grid_ns
    state = closed_at(row_ns, row_ns - before_row_ns, grid_ns=grid_ns)
    window = trade_window(state["tiles"][0], row_ns, 15)
    assert tuple(window) == ((8, 5, 3, 2, 800, 2) if is_inside else NOTHING)


def test_windows_of_one_row_hold_what_each_reaches() -> None:
    row_ns = MIDNIGHT_NS + 3 * ORDER_NS
    times_ns = [row_ns - back * SECOND_NS for back in (1, 3, 4, 15, 16, 300)]
    tiles = closed_at(row_ns, *times_ns, grid_ns=ORDER_NS)["tiles"][0]
    counts = {seconds: trade_window(tiles, row_ns, seconds).trade_count for seconds in (3, 4, 15, 16, 299, 300)}
    assert counts == {3: 4, 4: 6, 15: 8, 16: 10, 299: 10, 300: 12}


@pytest.mark.parametrize(("before_window_ns", "is_known"), [(1, True), (0, False), (-1, False)])
def test_a_quote_window_is_known_if_the_book_was_two_sided_before_it_began(
    before_window_ns: int,
    is_known: bool,  # noqa: FBT001  # a table
) -> None:
    row_ns = MIDNIGHT_NS + 100 * SECOND_NS
    state = closed_at(row_ns, grid_ns=SECOND_NS)
    state["book"]["two_sided_since_ns"][0] = row_ns - 15 * SECOND_NS - before_window_ns
    assert quote_window(state[0], row_ns, 15).is_known == is_known


def test_every_tile_of_the_finest_grid_has_a_place_of_its_own() -> None:
    ends = {end_before(MIDNIGHT_NS + tick * ORDER_NS, 0) for tick in range(TILE_COUNT)}
    assert ends == set(range(TILE_COUNT))
    assert end_before(MIDNIGHT_NS, 0) == end_before(MIDNIGHT_NS + SECONDS_KEPT * SECOND_NS, 0)
    assert end_before(MIDNIGHT_NS, 7) == end_before(MIDNIGHT_NS - 7 * SECOND_NS, 0)
