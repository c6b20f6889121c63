"""The event records of a small tape."""

from __future__ import annotations

import numpy as np
import pytest

from market.events import (
    CONTROL,
    KLINE,
    ORDERBOOK,
    TICKER,
    TRADE,
    Events,
)
from tests.raw_events import MIDNIGHT_NS, message


@pytest.fixture
def tape() -> Events:
    """Every kind, two dates, one snapshot."""
    return np.concatenate(
        [
            message(1, MIDNIGHT_NS - 2, CONTROL),
            message(2, MIDNIGHT_NS - 2, ORDERBOOK, is_snapshot=True, levels=3),
            message(3, MIDNIGHT_NS - 1, TRADE, levels=2),
            message(4, MIDNIGHT_NS, ORDERBOOK, levels=2),
            message(5, MIDNIGHT_NS, KLINE, levels=6),
            message(6, MIDNIGHT_NS + 1, TICKER),
            message(7, MIDNIGHT_NS + 1, ORDERBOOK),
        ]
    )
