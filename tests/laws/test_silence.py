"""What an engine passes over of a silence changes no row after it, whatever was known before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to
from market.events import Events
from tests.examples import examples
from tests.laws.running import assert_same, begin, end_of
from tests.laws.streams import tapes
from transforms.engine import ROWS_A_CALL
from transforms.kernel import Kernel
from transforms.rows import joined_rows

SILENT_NS = 90 * MINUTE_NS


def after_a_silence(first: Events, second: Events) -> Events:
    later = second.copy()
    moved_ns = floor_to(end_of(first), SECOND_NS) + SILENT_NS - floor_to(int(second["recv_ns"].min()), SECOND_NS)
    later["recv_ns"] += moved_ns
    later["seq"] += int(first["seq"].max())
    return np.concatenate([first, later])


@settings(max_examples=examples(3))
@given(
    first=tapes(is_warm=True), second=tapes(is_warm=True), grid_ns=st.sampled_from([100 * MILLISECOND_NS, SECOND_NS])
)
def test_rows_after_a_silence_that_was_passed_over_are_those_of_one_that_was_gone_through(
    kernel: Kernel, warm_at: Callable[[int], bytes], first: Events, second: Events, grid_ns: int
) -> None:
    events = after_a_silence(first, second)
    silent_ns = floor_to(end_of(first), SECOND_NS)
    period = silent_ns, floor_to(silent_ns + SILENT_NS, MINUTE_NS) - MINUTE_NS
    rows = []
    for without in ((), (period,)):
        engine = begin(kernel, warm_at(grid_ns), grid_ns=grid_ns)
        engine.feed(events)
        pieces = list(engine.advance_in_pieces(end_of(events), without=without))
        assert max(map(len, pieces)) <= ROWS_A_CALL
        rows.append(joined_rows(pieces, reasons=True))
    every, few = rows
    assert few.row_ns.tolist() == [each for each in every.row_ns.tolist() if not period[0] < each < period[1]]
    assert len(every) - len(few) > (SILENT_NS - 5 * MINUTE_NS) // SECOND_NS
    assert_same(every.only(np.isin(every.row_ns, few.row_ns)), few)
