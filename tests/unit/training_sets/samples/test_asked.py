"""Which of the rows on record answers at a time, and from when it could be read."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from market.clock import SECOND_NS
from training_sets.request.request import LONGEST_LAG_NS
from training_sets.samples.asked import newest_readable
from training_sets.samples.known import NO_ROW

MOMENTS = st.integers(0, 20).map(lambda tick: tick * SECOND_NS // 10) | st.sampled_from(
    (LONGEST_LAG_NS, LONGEST_LAG_NS + 1, 3 * LONGEST_LAG_NS)
)
ROWS = st.lists(st.tuples(MOMENTS, st.sampled_from((1, 7, SECOND_NS // 5, 2 * LONGEST_LAG_NS))), max_size=8)


@example(rows=[(LONGEST_LAG_NS, 1)], times=[(0, 0)])  # as far away as a row may be on record
@given(rows=ROWS, times=st.lists(st.tuples(MOMENTS, st.sampled_from((-1, 0, 1, 7, 8))), min_size=1))
def test_it_is_the_newest_row_that_had_come_since_the_first_time_it_came(
    rows: list[tuple[int, int]], times: list[tuple[int, int]]
) -> None:
    times_ns = np.array(sorted(at + after for at, after in times), np.int64)
    row_ns = np.array([at for at, _ in rows], np.int64)
    available_ns = np.array([at + delay for at, delay in rows], np.int64)
    is_recorded, found_ns, since_ns = newest_readable(row_ns, available_ns, times_ns)
    for at, time_ns in enumerate(times_ns.tolist()):
        assert is_recorded[at] == any(abs(row - time_ns) <= LONGEST_LAG_NS for row, _ in rows)
        had = [row for row, delay in rows if row + delay <= time_ns]
        newest = max(had, default=NO_ROW)
        assert found_ns[at] == newest
        assert since_ns[at] == min((row + delay for row, delay in rows if row == newest), default=NO_ROW)
