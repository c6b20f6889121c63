"""When a view of tables is due: as often as it promises, whatever the work before a run took."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from feast import FeatureView, FileSource

from feature_repo.materializing import EVERY_TAG, is_due

LAST = datetime(2026, 1, 5, 12, 0, 20, tzinfo=UTC)


def view(every_s: float | None) -> FeatureView:
    tags = {} if every_s is None else {EVERY_TAG: f"{every_s:g}"}
    made = FeatureView(name="bars", entities=[], source=FileSource(name="file", path="bars.parquet"), tags=tags)
    made.materialization_intervals.append((LAST - timedelta(days=1), LAST))
    return made


@pytest.mark.parametrize(
    ("every_s", "after_s", "said"),
    [
        (300, 281, True),  # this run's work took 1 s, that of the run before 20
        (300, 239, False),
        (900, 600, False),
        (900, 840, True),
        (86_400, 86_000, False),
        (10, 8, True),
        (None, 0, True),
    ],
)
def test_a_view_is_due_at_each_run_that_its_promise_asks_for(
    every_s: float | None, after_s: float, *, said: bool
) -> None:
    assert is_due(view(every_s), LAST + timedelta(seconds=after_s)) is said
