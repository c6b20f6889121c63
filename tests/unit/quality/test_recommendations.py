"""What a data quality report recommends, in the words that its reader sees."""

from __future__ import annotations

from typing import Any

import pytest

from quality.limits import QualityLimits
from quality.recommendations import recommendations

QUIET: dict[str, Any] = {"received": 1, "missing": 0, "silences": 0, "late": 0, "duplicates": 0}


def interrupted(*seconds: float) -> list[str]:
    spans = [{"from": "2026-01-05T12:00:00Z", "to": "2026-01-05T12:00:01Z", "seconds": each} for each in seconds]
    document = {
        "symbol": "BTCUSDT",
        "held": {},
        "missing_rate": 0.0,
        "sequence_gap_details": [],
        "sequence_gaps": 0,
        "interruptions": spans,
        "streams": {"kline": QUIET | {"early": {}}, "trade": QUIET | {"minutes_that_differ": 0}},
        "trade_minutes_that_differ": [],
        "crossed_book": [],
        "frozen_book": [],
        "clock_offset_ms": None,
        "features": None,
        "anomaly_details": [],
        "anomaly_rate": 0.0,
    }
    return recommendations(document, QualityLimits())


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ((0.0, 0.0, 0.0), "interrupted 3 times, less than 1 s in all"),
        ((0.0,), "interrupted once, less than 1 s in all"),
        ((40.0, 20.4), "interrupted 2 times, 60 s in all"),
    ],
)
def test_interruptions_are_told_with_their_number_and_how_long_they_lasted(
    seconds: tuple[float, ...], told: str
) -> None:
    [said] = interrupted(*seconds)
    assert said.startswith(f"Ingest was {told}, and may have missed messages: see its log at 2026-01-05T12:00:01Z")
