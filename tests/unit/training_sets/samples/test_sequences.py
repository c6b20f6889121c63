"""Windows of the feature log against a plain walk over its rows: none holds a gap, a restart, a purge or a boundary."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLog, FeatureLogWriter
from training_sets.request.folds import Fold, Period
from training_sets.samples.sequences import FeatureWindows
from training_sets.samples.splits import SplitRules
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import OK, WARMUP

SYMBOL = "BTCUSDT"
SET = FeatureSet("1.0.0", ("mid", "spread"), (FeatureGroup("price", "aaaa", ("mid", "spread"), (0, 1)),), "cccc")
MIDNIGHT_NS = parse_iso_ns("2026-01-06T00:00:00")
BEGIN_NS = MIDNIGHT_NS - 100 * SECOND_NS
ROWS = 200
CUT = 130
REACH = 7
FOLD = Fold(
    None,
    (
        Period("train", BEGIN_NS, BEGIN_NS + CUT * SECOND_NS),
        Period("test", BEGIN_NS + CUT * SECOND_NS, BEGIN_NS + ROWS * SECOND_NS),
    ),
)


def write(folder: Path, *, holes: set[int], restarts: set[int], late: set[int]) -> FeatureLog:
    """A row a second over midnight; the values of row ``n`` are n and -n."""
    at = np.array([number for number in range(ROWS) if number not in holes])
    status = np.where(np.isin(at, list(restarts)), WARMUP, OK).astype(np.int8)[:, None]
    row_ns = BEGIN_NS + at * SECOND_NS
    delay_ns = np.where(np.isin(at, list(late)), 2 * MINUTE_NS, 1)
    with FeatureLogWriter(folder) as log:
        log.append(FeatureRows(SYMBOL, SET, row_ns, np.stack([at, -at], axis=1) * 1.0, status), row_ns + delay_ns)
    return FeatureLog(folder)


def windows_of(
    log: FeatureLog, split: str, length: int, *, step: int = 1, stride: int = 1, offset: int = 0, delay_ns: int = 0
) -> FeatureWindows:
    rules, interval_ns, offset_ns = SplitRules(REACH * SECOND_NS), step * SECOND_NS, offset * SECOND_NS
    return FeatureWindows(
        log, SET, SYMBOL, FOLD, split, rules, length, interval_ns, stride, offset_ns=offset_ns, read_delay_ns=delay_ns
    )


numbers = st.sets(st.integers(0, ROWS - 1), max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    holes=numbers,
    restarts=numbers,
    late=numbers,
    length=st.integers(1, 40),
    step=st.sampled_from([(1, 0), (5, 0), (5, 2)]),
    delay=st.sampled_from([0, 1]),
    split=st.sampled_from(["train", "test"]),
)
def test_windows_are_those_of_a_plain_walk(  # what hypothesis draws
    tmp_path_factory: pytest.TempPathFactory,
    holes: set[int],
    restarts: set[int],
    late: set[int],
    length: int,
    step: tuple[int, int],
    delay: int,
    split: str,
) -> None:
    log = write(tmp_path_factory.mktemp("log"), holes=holes, restarts=restarts, late=late)
    broken = holes | restarts | late
    # A train row whose label, from its arrival on, reaches the test period is purged.
    inside = range(CUT - REACH - delay) if split == "train" else range(CUT, ROWS)
    expected = []
    every, offset = step
    for end in range(offset, ROWS, every):
        rows = [end - every * back for back in reversed(range(length))]
        if all(row in inside and row not in broken for row in rows):
            expected.append([[row, -row] for row in rows])
    found = windows_of(log, split, length, step=every, offset=offset, delay_ns=delay * SECOND_NS)
    assert [window.tolist() for window, _ in found] == expected
    assert [end_ns for _, end_ns in found] == [BEGIN_NS + window[-1][0] * SECOND_NS for window in expected]


def test_batches_are_float32_and_bounded_and_shards_share_the_days(tmp_path: Path) -> None:
    log = write(tmp_path, holes=set(), restarts=set(), late=set())
    whole = windows_of(log, "train", 10)
    batches = list(whole.batches(most=16))
    assert {batch.values.dtype for batch in batches} == {np.dtype(np.float32)}
    assert {batch.values.shape[1:] for batch in batches} == {(10, 2)}
    assert max(len(batch.end_ns) for batch in batches) == 16
    day = (MIDNIGHT_NS // DAY_NS) % 2
    shards = [
        [end_ns for _, end_ns in FeatureWindows(log, SET, SYMBOL, FOLD, "train", whole.rules, 10, shard=at, shards=2)]
        for at in (1 - day, day)
    ]
    assert shards[0] + shards[1] == [end_ns for _, end_ns in whole]
    assert all(end_ns < MIDNIGHT_NS for end_ns in shards[0])
    assert shards[1][0] == MIDNIGHT_NS


def test_a_stride_leaves_windows_out_and_impossible_ones_are_refused(tmp_path: Path) -> None:
    log = write(tmp_path, holes=set(), restarts=set(), late=set())
    ends = [end_ns for _, end_ns in windows_of(log, "train", 10, stride=4)]
    assert np.unique(np.diff(ends)).tolist() == [4 * SECOND_NS]
    with pytest.raises(InvalidRequest, match="split must be one of train, test, was 'validation'"):
        windows_of(log, "validation", 10)
    with pytest.raises(InvalidRequest, match="offset must be whole seconds below the interval"):
        windows_of(log, "train", 10, step=5, offset=5)
    with pytest.raises(InvalidRequest, match="length and stride must be 1 or more"):
        windows_of(log, "train", 0)


def test_no_window_holds_rows_of_two_periods_although_the_one_between_has_no_row(tmp_path: Path) -> None:
    log = write(tmp_path, holes=set(), restarts=set(), late=set())
    bounds = [BEGIN_NS + second * SECOND_NS for second in (0, 11, 14, 30)]
    names = ("train", "test", "train")
    fold = Fold(None, tuple(Period(name, *ends) for name, ends in zip(names, pairwise(bounds), strict=True)))
    windows = FeatureWindows(log, SET, SYMBOL, fold, "train", SplitRules(1), 2, 5 * SECOND_NS)
    assert [window[:, 0].tolist() for window, _ in windows] == [[0, 5], [5, 10], [15, 20], [20, 25]]
