"""Which days are computed in one run: those that follow each other and lack the same groups, at most so many."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from market.clock import DAY_NS
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.runs import runs_of
from training_sets.samples.prices import MID


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([("a",), ("a", "b")])), max_size=30), st.integers(1, 9))
def test_runs_hold_every_day_once_in_order_and_never_what_cannot_be_computed_together(
    steps: list[tuple[int, tuple[str, ...]]], most_days: int
) -> None:
    due, day = [], 0
    for step, groups in steps:
        day += step
        due.append((day * DAY_NS, dict.fromkeys(groups, str(day))))
    rebuild = Rebuild(RawData(Path("raw")), FeatureLog(Path("features")), Path("kernels"), "BTCUSDT", MID)
    runs = [run.due for run in runs_of(rebuild, due, most_days)]
    assert [each for run in runs for each in run] == due
    for run in runs:
        assert 0 < len(run) <= most_days
        assert [day_ns for day_ns, _ in run] == [run[0][0] + at * DAY_NS for at in range(len(run))]
        assert len({tuple(inputs) for _, inputs in run}) == 1
    for one, other in pairwise(runs):
        # Two neighbours are apart for a reason.
        assert len(one) == most_days or one[-1][0] + DAY_NS != other[0][0] or one[-1][1].keys() != other[0][1].keys()
