"""docs/scale.md: its table follows from the measured costs, and the arithmetic is what the page says."""

from __future__ import annotations

import pytest

from benchmarks import scale
from benchmarks.readme import figures
from benchmarks.scale_page import BUSY_SHARE, PAGE, Size, needs, page

COSTS = {
    scale.MESSAGE_CPU: 100.0,
    scale.ROW_CPU: 400.0,
    scale.REDIS_CPU: 50.0,
    scale.COMPACT_CPU: 50.0,
    scale.TAPE_BYTES: 1000.0,
    scale.PARQUET_BYTES: 100.0,
    scale.ROW_BYTES: 500.0,
    scale.REDIS_BYTES: 20_000.0,
}


def test_the_page_states_what_follows_from_the_measured_costs() -> None:
    assert PAGE.read_text() == page(figures()), "write it again: python -m benchmarks.scale_page"


def test_what_a_size_needs() -> None:
    found = needs(Size("ten", 10, 100), COSTS)
    assert (found.messages_a_second, found.rows_a_second) == (1000, 100)
    assert found.ingest_cores == pytest.approx(0.1 + 0.04)
    assert found.compaction_cores == pytest.approx(0.05)
    assert found.redis_cores == pytest.approx(0.005)
    assert found.redis_gb == pytest.approx(0.0002)
    assert found.network_mbit == pytest.approx(16)
    assert found.raw_gb_day == pytest.approx(8.64)
    assert found.log_gb_day == pytest.approx(0.432)
    stored = (8.64 + 0.432) * (90 * 0.08 + 1825 * 0.023)
    assert found.dollars == pytest.approx(730 * (0.195 / BUSY_SHARE * 0.045 + 0.0002 * 0.012) + stored)


def test_a_quiet_symbol_has_a_row_a_second() -> None:
    assert needs(Size("quiet", 1, 0.1), COSTS).rows_a_second == 1
