"""Data quality reports are kept whole on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from market.errors import Conflict, StoreUnavailable
from storage.database.quality_reports import QualityReports

NOON = datetime(2026, 8, 9, 12, tzinfo=UTC)
REPORT: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "period_start": "2026-08-09T00:00:00Z",
    "period_end": "2026-08-09T12:00:00Z",
    "missing_rate": 0.25,
    "anomaly_rate": None,
    "sequence_gaps": 2,
    "desynchronization_events": 3,
    "recommendations": ["Backfill."],
}


@pytest.fixture(scope="module")
def reports(url: str) -> Iterator[QualityReports]:
    with closing(QualityReports(url)) as found:
        yield found


def test_a_report_comes_back_as_it_was_given_the_newest_first(reports: QualityReports) -> None:
    first = reports.keep(REPORT, NOON)
    second = reports.keep({**REPORT, "missing_rate": None}, NOON + timedelta(hours=1))
    assert first["id"] != second["id"]
    assert reports.newest("BTCUSDT", limit=5) == [second, first]
    assert reports.newest("BTCUSDT", limit=1) == [second]
    assert reports.newest("ETHUSDT", limit=5) == []


def test_the_newest_reconciliation_of_each_day_is_given_apart_from_the_reports(reports: QualityReports) -> None:
    days = [
        {**REPORT, "kind": "reconciliation", "symbol": "SOLUSDT", "period_start": f"2026-08-0{at}"} for at in (7, 8, 9)
    ]
    first = [reports.keep(each, NOON) for each in days]
    again = reports.keep({**days[1], "sequence_gaps": 0}, NOON + timedelta(hours=1))
    begin = datetime(2026, 8, 7, tzinfo=UTC)
    assert reports.reconciliations("SOLUSDT", begin, begin + timedelta(days=2)) == [first[0], again]
    assert reports.newest("SOLUSDT", limit=5) == []


def test_a_rate_that_is_none_is_refused_by_the_database(reports: QualityReports) -> None:
    with pytest.raises(Conflict):
        reports.keep({**REPORT, "missing_rate": 1.5}, NOON)


def test_without_a_database_the_store_is_unavailable() -> None:
    with (
        closing(QualityReports("postgresql+psycopg://postgres@127.0.0.1:1/none")) as found,
        pytest.raises(StoreUnavailable),
    ):
        found.newest("BTCUSDT", limit=1)
