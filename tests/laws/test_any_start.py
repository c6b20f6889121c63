"""A computation started at least a column's horizon before a row gives the same row."""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from market.events import Events
from tests.examples import examples
from tests.laws.columns import horizons_ns, status_horizons_ns
from tests.laws.messages import MIDNIGHT_NS, book_message, kline_message, tape
from tests.laws.running import assert_same, end_of, run
from tests.laws.streams import tapes_with_cut, tapes_with_cut_and_candles
from transforms.catalogue import FEATURES, set_horizon_ns
from transforms.declaration import KLINES
from transforms.kernel import Kernel

CANDLES_OF_HOURS: Final = sorted(
    {f.candles for f in FEATURES.values() if f.source is KLINES and 30 * MINUTE_NS < f.horizon_ns < DAY_NS}
)
"""How many candles the long windows see, those of a day apart."""


def assert_start_does_not_matter(
    kernel: Kernel, events: Events, cut_ns: int, until_ns: int, after_ns: int | None = None
) -> None:
    whole = run(kernel, events, until_ns, after_ns=after_ns)
    part = run(kernel, events[events["recv_ns"] >= cut_ns], until_ns, start_ns=cut_ns, after_ns=after_ns)
    history_ns = (part.row_ns - cut_ns)[:, None]
    cells = history_ns >= horizons_ns(kernel.feature_set)[None, :]
    groups = history_ns >= status_horizons_ns(kernel.feature_set)[None, :]
    assert_same(whole.only(whole.row_ns >= part.row_ns[0]), part, cells, groups)


@settings(max_examples=examples(40))
@given(drawn=tapes_with_cut())
def test_any_start_a_horizon_before_a_row_gives_the_same_row(kernel: Kernel, drawn: tuple[Events, int]) -> None:
    events, cut_ns = drawn
    assert_start_does_not_matter(kernel, events, cut_ns, end_of(events))


@settings(max_examples=examples(12))
@given(data=st.data(), count=st.sampled_from(CANDLES_OF_HOURS))
def test_any_start_hours_before_a_row_gives_the_same_indicators(
    kernel: Kernel, data: st.DataObject, count: int
) -> None:
    events, cut_ns = data.draw(tapes_with_cut_and_candles(count + 5))
    after_ns = cut_ns + (count - 2) * MINUTE_NS
    assert_start_does_not_matter(kernel, events, cut_ns, end_of(events), after_ns)


@settings(max_examples=examples(4))
@given(drawn=tapes_with_cut_and_candles(DAY_NS // MINUTE_NS + 2))
def test_any_start_a_day_before_a_row_gives_the_same_row(kernel: Kernel, drawn: tuple[Events, int]) -> None:
    events, cut_ns = drawn
    until_ns = cut_ns + set_horizon_ns(kernel.feature_set) + 5 * SECOND_NS
    assert_start_does_not_matter(kernel, events, cut_ns, until_ns, cut_ns + DAY_NS - 2 * SECOND_NS)


def test_a_start_between_the_newest_candle_and_older_ones_sent_again_gives_the_same_row(kernel: Kernel) -> None:
    first_ns = MIDNIGHT_NS + 10 * MINUTE_NS
    cut_ns = first_ns + SECOND_NS
    again = [
        kline_message(cut_ns + 2 * MINUTE_NS, first_ns - back * MINUTE_NS, 100_000 + back) for back in range(10, 1, -1)
    ]
    newest = kline_message(first_ns, first_ns - MINUTE_NS, 99_000)
    events = tape([newest, book_message(cut_ns, 5, bids=[(5, 5)], asks=[(6, 5)], is_snapshot=True), *again])
    assert_start_does_not_matter(kernel, events, cut_ns, cut_ns + 20 * MINUTE_NS)
