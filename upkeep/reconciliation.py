"""Reconciliation: the previous day, as received live, is compared with the exchange's archives.

1. A day is compared once its archives are there: what could not be checked is tried again, until the next is over.
2. A day in which the symbol's tape began is skipped: it was not received completely.
3. A symbol that cannot be compared leaves the others to be, and is a problem of the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from market.clock import DAY_NS, floor_to, to_datetime, utc_date
from market.errors import FeatureServiceError
from storage.database.quality_reports import QualityReports
from storage.tape import tape_begin_ns, tape_symbols
from upkeep.tasks import Reach

_OF_KEEPING: Final = ("id", "created_at")
"""What a report has of being kept, and not of what was found."""


class Reconcile(Protocol):
    """As ``DayReconciliation.of``: the report of a symbol's UTC day, YYYY-MM-DD."""

    def __call__(self, symbol: str, date: str) -> Mapping[str, Any]: ...


def reconcile_yesterday(
    raw_folder: Path,
    reports: QualityReports,
    reconcile: Reconcile,
    *,
    symbols: Collection[str],
    now_ns: int,
    reach: Reach,
) -> Mapping[str, Any]:
    """Compare yesterday of the symbols' tapes, where that was not done, and keep what was found.

    ``disagreeing`` says of each symbol whose day disagrees how often, by check, whichever run found it.

    Raises StoreUnavailable when the database does not answer.
    """
    begin_ns = floor_to(now_ns, DAY_NS) - DAY_NS
    date, period = utc_date(begin_ns), (to_datetime(begin_ns), to_datetime(begin_ns + DAY_NS))
    lived = [symbol for symbol in tape_symbols(raw_folder) if symbol in symbols]
    compared, problems = 0, list[str]()
    disagreeing: list[dict[str, Any]] = []
    for at, symbol in enumerate(lived):
        reach(at / len(lived))
        newest = next(iter(reports.reconciliations(symbol, *period)), None)
        if newest is None or newest["unchecked"]:
            try:
                begun_ns = tape_begin_ns(raw_folder, symbol)
                if begun_ns is None or begun_ns >= begin_ns:
                    continue
                found = reconcile(symbol, date)
            except FeatureServiceError as error:
                problems.append(f"{symbol} of {date}: could not be reconciled: {error}")
            else:
                compared += 1
                if newest is None or _of_day(newest) != _of_day(found):
                    newest = reports.keep(found, to_datetime(now_ns))
        if newest is not None and newest["agrees"] is False:
            disagreeing.append(_told(newest))
    return {"date": date, "compared": compared, "disagreeing": disagreeing, "problems": problems}


def _of_day(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name not in _OF_KEEPING}


def _told(report: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: check["disagreements"] for name, check in report["checks"].items() if check["disagreements"]}
    return {"symbol": report["symbol"], "date": report["date"], "disagreements": counts}
