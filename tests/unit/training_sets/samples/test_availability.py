"""Why a split has no rows, by what its symbols have."""

from __future__ import annotations

import pytest

from training_sets.samples.availability import why_empty


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ({"BTCUSDT": (20, 90)}, "insufficient_historical_data"),
        ({"BTCUSDT": (0, 9)}, "no_data_in_period"),
        ({"BTCUSDT": None}, "no_data_in_period"),
        ({"BTCUSDT": (0, 9), "ETHUSDT": (20, 90)}, "data_gap"),
        ({"BTCUSDT": (0, 90)}, "data_gap"),
    ],
)
def test_an_empty_period_says_why(available: dict[str, tuple[int, int] | None], expected: str) -> None:
    assert why_empty(10, 20, available) == expected
