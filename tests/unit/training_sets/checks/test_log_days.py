"""What is drawn of the feature log is a twentieth of what a dataset covers, and no day of it twice."""

from __future__ import annotations

import pytest

from market.clock import DAY_NS, HOUR_NS, SECOND_NS, parse_iso_ns
from training_sets.checks.log_days import draw_stretches

BEGIN_NS = parse_iso_ns("2026-01-05")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("days", "symbols", "lengths_ns"),
    [
        (3, 1, [3 * DAY_NS // 20 // SECOND_NS * SECOND_NS]),
        (30, 1, [DAY_NS // 2, DAY_NS]),
        (60, 1, [DAY_NS] * 3),
        (30, 2, [DAY_NS] * 3),
        (61, 1, [DAY_NS // 20 // SECOND_NS * SECOND_NS, *[DAY_NS] * 3]),
    ],
)
def test_a_twentieth_is_drawn_in_whole_days_and_a_rest(
    days: int, symbols: int, lengths_ns: list[int], seed: int
) -> None:
    names = ["BTCUSDT", "ETHUSDT"][:symbols]
    drawn = draw_stretches(names, [(BEGIN_NS, BEGIN_NS + days * DAY_NS)], seed)
    assert sorted(each.to_ns + 1 - each.from_ns for each in drawn) == lengths_ns
    assert len({(each.symbol, each.from_ns // DAY_NS) for each in drawn}) == len(drawn)
    assert all(each.from_ns // DAY_NS == each.to_ns // DAY_NS for each in drawn)


def test_an_hour_at_least_is_drawn_and_no_more_than_there_is() -> None:
    [hour] = draw_stretches(["BTCUSDT"], [(BEGIN_NS, BEGIN_NS + 5 * HOUR_NS)], 1)
    assert hour.to_ns + 1 - hour.from_ns == HOUR_NS
    [few] = draw_stretches(["BTCUSDT"], [(BEGIN_NS, BEGIN_NS + 60 * SECOND_NS)], 1)
    assert (few.from_ns, few.to_ns) == (BEGIN_NS, BEGIN_NS + 60 * SECOND_NS - 1)
