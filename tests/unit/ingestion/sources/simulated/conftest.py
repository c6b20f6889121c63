"""Minutes of the simulated market."""

from __future__ import annotations

import pytest

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import SECOND_NS
from tests.simulated_messages import START_NS


@pytest.fixture(scope="session")
def market() -> list[TimedMessage]:
    """Both default symbols for 200 s, across a funding time and three ends of minutes."""
    return list(simulate(DEFAULT_SYMBOLS, seed=7, start_ns=START_NS, duration_ns=200 * SECOND_NS))
