"""Yesterday is reconciled until it was checked whole, once, and what disagrees is told of while it is yesterday."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from market.clock import DAY_NS, SECOND_NS, parse_iso_ns, to_datetime
from market.errors import CorruptStore
from quality.reconciliation import Check, reconciliation_document
from storage.database.quality_reports import QualityReports
from storage.database.upkeep import UpkeepState
from storage.tape import TapeWriter
from tests.postgres_servers import MigratedPostgres
from tests.unit.upkeep.test_alert_findings import LIMITS
from upkeep.alert_findings import upkeep_findings
from upkeep.reconciliation import reconcile_yesterday
from upkeep.tasks import RECONCILIATION

DATE: Final = "2026-01-05"
BEGIN_NS: Final = parse_iso_ns(DATE)
NOW_NS: Final = BEGIN_NS + DAY_NS + 3600 * SECOND_NS
Document = dict[str, Any]


@pytest.fixture(scope="module")
def url(embedded_postgres: MigratedPostgres) -> Iterator[str]:
    with embedded_postgres.with_tables() as made:
        yield made


@pytest.fixture
def reports(url: str) -> Iterator[QualityReports]:
    with closing(QualityReports(url)) as found:
        yield found


class Exchange:
    """What a comparison of a symbol's day finds; it counts them."""

    def __init__(self, folder: Path, reports: QualityReports) -> None:
        self.raw, self._reports = folder, reports
        self.asked: list[tuple[str, str]] = []
        self.missing: dict[str, int] = {}
        self.unchecked: str | None = None
        self.error: Exception | None = None

    def lives(self, symbol: str, since_ns: int = BEGIN_NS - SECOND_NS) -> None:
        with TapeWriter(self.raw, symbol) as writer:
            writer.append(since_ns, b"{}")

    def of(self, symbol: str, date: str) -> Document:
        self.asked.append((symbol, date))
        if self.error is not None:
            raise self.error
        trades = Check("trades", {"missing": self.missing.get(symbol, 0), "different": 0}, unchecked=self.unchecked)
        trades.disagreeing = trades.counts["missing"]
        return reconciliation_document(symbol, date, (f"{DATE}T00:00:00Z", "2026-01-06T00:00:00Z"), [
            trades, *(Check(name) for name in ("klines", "orderbook", "funding"))
        ])  # fmt: skip

    def run(self, *symbols: str, now_ns: int = NOW_NS) -> Document:
        return dict(
            reconcile_yesterday(
                self.raw, self._reports, self.of, symbols=symbols, now_ns=now_ns, reach=lambda _share: None
            )
        )

    def kept(self, symbol: str) -> list[Document]:
        begin = to_datetime(BEGIN_NS)
        return self._reports.reconciliations(symbol, begin, begin + timedelta(days=1))


@pytest.fixture
def exchange(tmp_path: Path, reports: QualityReports) -> Exchange:
    return Exchange(tmp_path, reports)


def test_yesterday_is_compared_once_and_told_of_by_an_alert_at_every_run(exchange: Exchange) -> None:
    for symbol in ("AUSDT", "BUSDT", "UNFOLLOWED"):
        exchange.lives(symbol)
    exchange.missing["BUSDT"] = 3
    first = exchange.run("AUSDT", "BUSDT", "NOTAPE")
    told = [{"symbol": "BUSDT", "date": DATE, "disagreements": {"trades": 3}}]
    assert first == {"date": DATE, "compared": 2, "disagreeing": told, "problems": []}
    assert exchange.run("AUSDT", "BUSDT") == {**first, "compared": 0}
    assert exchange.asked == [("AUSDT", DATE), ("BUSDT", DATE)]
    assert [each["agrees"] for symbol in ("AUSDT", "BUSDT") for each in exchange.kept(symbol)] == [True, False]
    now = to_datetime(NOW_NS)
    state = UpkeepState(
        task=RECONCILIATION, period=timedelta(hours=6), registered_at=now, now=now, succeeded_at=now, result=first
    )
    [found] = upkeep_findings([state], LIMITS)
    assert (found.rule, found.subject) == ("history_disagrees", f"BUSDT of {DATE}")
    assert found.summary.endswith("live data must agree with the archive, differs: 3 of trades")


def test_what_could_not_be_checked_is_tried_again_and_kept_when_it_says_something_new(exchange: Exchange) -> None:
    exchange.lives("CUSDT")
    exchange.unchecked = "archive: must have the day, has not"
    assert exchange.run("CUSDT")["compared"] == 1
    [waiting] = exchange.kept("CUSDT")
    assert exchange.run("CUSDT", now_ns=NOW_NS + SECOND_NS)["compared"] == 1
    assert exchange.kept("CUSDT") == [waiting]
    exchange.unchecked = None
    exchange.run("CUSDT", now_ns=NOW_NS + 2 * SECOND_NS)
    [checked] = exchange.kept("CUSDT")
    assert (waiting["agrees"], checked["agrees"]) == (None, True)
    assert exchange.run("CUSDT", now_ns=NOW_NS + 3 * SECOND_NS)["compared"] == 0


def test_a_day_in_which_the_tape_began_is_none(exchange: Exchange) -> None:
    exchange.lives("DUSDT", BEGIN_NS + SECOND_NS)
    assert exchange.run("DUSDT")["compared"] == 0
    assert exchange.asked == []


def test_a_symbol_that_cannot_be_compared_is_a_problem_and_asked_for_again(exchange: Exchange) -> None:
    exchange.lives("EUSDT")
    exchange.error = CorruptStore("raw: must be whole, was not")
    assert exchange.run("EUSDT")["problems"] == [
        f"EUSDT of {DATE}: could not be reconciled: raw: must be whole, was not"
    ]
    exchange.error = None
    assert exchange.run("EUSDT")["compared"] == 1
