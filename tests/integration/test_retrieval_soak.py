"""A million entity rows in Parquet are answered from ten million rows in bounded memory and linear time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure import in_child
from benchmarks.retrieval import TENTH, WHOLE, retrieved

MOST_MB = 2048
MOST_RATIO = 1.5
"""Of ten times the processor time of a tenth: a part that searched everything would make it several."""


@pytest.mark.soak
def test_ten_times_the_rows_take_ten_times_as_long_and_no_more_memory_than_is_allowed(tmp_path: Path) -> None:
    tenth, whole = (in_child(retrieved, tmp_path, size) for size in (TENTH, WHOLE))
    assert whole.peak_mb <= MOST_MB
    assert whole.processor_s <= MOST_RATIO * 10 * tenth.processor_s
