"""What a closed position leaves behind."""

from __future__ import annotations

from market.events import UNKNOWN
from transforms.features.position import realized_pnl, unrealized_pnl
from transforms.jit import python_function
from transforms.position import Position

PNL = 2_000_100_000_000
TAKEN = 1_250_000_000


def test_a_closed_position_has_no_open_profit_though_the_last_stated_one_is_remembered() -> None:
    assert python_function(unrealized_pnl)(Position(1, PNL, TAKEN, UNKNOWN)) == 2000.1
    assert python_function(unrealized_pnl)(Position(0, PNL, TAKEN, UNKNOWN)) == 0.0
    assert python_function(unrealized_pnl)(Position(UNKNOWN, PNL, TAKEN, UNKNOWN)) == 0.0


def test_what_was_taken_stays_when_the_position_is_closed() -> None:
    assert python_function(realized_pnl)(Position(0, PNL, TAKEN, UNKNOWN)) == 1.25
