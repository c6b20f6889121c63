"""What is not known is NaN and says why; what is known lies in its declared range."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS
from market.events import CONTROL, START, TICKER, Events
from market.events import GAP as GAP_MARK
from tests.examples import examples
from tests.laws.columns import declared_range, feature_of, horizons_ns, warm_ups_ns
from tests.laws.markets import WARM_NS
from tests.laws.running import end_of, reasons_of, run, second_of
from tests.laws.streams import tapes, tapes_with_break
from transforms.catalogue import FEATURES, GROUPS, group_horizon_ns
from transforms.declaration import BOOK, KLINES, NOTHING, POSITIONS, TICKERS
from transforms.kernel import Kernel
from transforms.rows import FeatureSet
from transforms.state import ORDER_NS
from transforms.status import GAP, NO_DATA, OK, WARMUP


def history_starts(events: Events, row_ns: int) -> tuple[int, int]:
    """When the history that a row may use began, and that of candles.

    At the last START applied before it, else with the first record; of candles earlier, where a later HISTORY says so.
    """
    marks = events[(events["kind"] == CONTROL) & (events["field"] != GAP_MARK) & (events["recv_ns"] < row_ns)]
    began_ns = candles_ns = int(events["recv_ns"][0])
    for mark in marks[np.argsort(marks["recv_ns"] // ORDER_NS, kind="stable")]:
        if mark["field"] == START:
            began_ns = candles_ns = int(mark["recv_ns"])
        else:
            candles_ns = min(candles_ns, int(mark["update_id"]))
    return began_ns, candles_ns


def is_too_early(chosen: FeatureSet, events: Events, rows_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which values have less history than they need: bool (rows, columns)."""
    reads_candles = np.array([name in FEATURES and FEATURES[name].source is KLINES for name in chosen.columns])
    starts = np.array([history_starts(events, row_ns) for row_ns in rows_ns.tolist()], np.int64).reshape(-1, 2)
    began_ns = np.where(reads_candles, starts[:, 1:], starts[:, :1])
    return rows_ns[:, None] - began_ns < warm_ups_ns(chosen)[None, :]


@settings(max_examples=examples(30))
@given(events=tapes())
def test_less_history_than_a_feature_needs_gives_nan(kernel: Kernel, events: Events) -> None:
    rows = run(kernel, events, end_of(events))
    too_early = is_too_early(kernel.feature_set, events, rows.row_ns)
    assert np.isnan(rows.values[too_early]).all()
    assert (reasons_of(rows)[too_early] != OK).all()


@settings(max_examples=examples(25))
@given(data=st.data())
def test_a_value_is_nan_exactly_when_there_is_a_reason_and_else_lies_in_its_range(
    kernel: Kernel, before: bytes | None, data: st.DataObject
) -> None:
    events = data.draw(tapes(is_warm=before is not None))
    rows = run(kernel, events, end_of(events), checkpoint=before)
    is_unknown = np.isnan(rows.values)
    assert (is_unknown == (reasons_of(rows) != OK)).all()
    bits = rows.values.view(np.int64)
    assert set(bits[is_unknown].tolist()) <= {np.array([math.nan]).view(np.int64)[0]}, "every NaN is the same"
    assert not (bits == np.array([-0.0]).view(np.int64)[0]).any(), "there is one zero"
    for column, name in enumerate(kernel.feature_set.columns):
        known = rows.values[~is_unknown[:, column], column]
        assert np.isfinite(known).all(), name
        low, high = declared_range(name)
        assert ((low <= known) & (known <= high)).all(), (name, low, high, known)


@settings(max_examples=examples(12))
@given(data=st.data())
def test_no_value_is_given_while_the_source_of_its_group_is_not_known(
    kernel: Kernel, before: bytes | None, data: st.DataObject
) -> None:
    """Positions alone answer 0; a ticker of which one field is not known gives the features of the others."""
    events = data.draw(tapes(is_warm=before is not None))
    silent_s = data.draw(st.sampled_from((0, 400, 5000)))
    rows = run(kernel, events, end_of(events) + silent_s * SECOND_NS, checkpoint=before)
    ticker_ns = max([0 if before is None else WARM_NS, *events["recv_ns"][events["kind"] == TICKER].tolist()])
    for at, group in enumerate(kernel.feature_set.groups):
        source = feature_of(group.columns[0]).source
        if group.name not in GROUPS or source in (POSITIONS, NOTHING):
            continue
        is_unknown = np.isin(rows.status[:, at], (GAP, NO_DATA))
        if source is TICKERS:
            is_unknown &= rows.row_ns - ticker_ns > group_horizon_ns(group.name)
        assert np.isnan(rows.values[is_unknown][:, list(group.indices)]).all(), group.name


@settings(max_examples=examples(30))
@given(drawn=tapes_with_break())
def test_a_gap_makes_every_book_feature_unknown_until_the_next_snapshot(
    kernel: Kernel, drawn: tuple[Events, int, int]
) -> None:
    events, broken_ns, mended_ns = drawn
    rows = run(kernel, events, end_of(events))
    names = kernel.feature_set.columns
    columns = [i for i, name in enumerate(names) if feature_of(name).source is BOOK]
    groups = [i for i, g in enumerate(kernel.feature_set.groups) if {feature_of(c).source for c in g.columns} == {BOOK}]
    broken = rows.only((rows.row_ns > broken_ns) & (rows.row_ns <= mended_ns))
    assert np.isnan(broken.values[:, columns]).all()
    assert (reasons_of(broken)[:, columns] == GAP).all()
    assert (broken.status[:, groups] == GAP).all()

    mended = rows.only(rows.row_ns == second_of(mended_ns) + SECOND_NS)
    at_the_row = [i for i in columns if horizons_ns(kernel.feature_set)[i] == 0]
    assert (reasons_of(mended)[:, at_the_row] != GAP).all()
    # A mid is taken at whole seconds: a gap mended within one leaves the mids on both sides known.
    over_messages = [i for i in columns if "quotes" in feature_of(names[i]).inputs]
    assert np.isnan(mended.values[:, over_messages]).all(), "a sum over book messages never bridges a gap"
    assert np.isin(reasons_of(mended)[:, over_messages], (GAP, WARMUP)).all()
