"""Data quality reports in PostgreSQL: each as it was given, with the figures that are asked for most in columns."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, insert, select

from market.clock import format_iso, parse_iso_ns, to_datetime, to_ns
from storage.database.connections import open_engine, transaction
from storage.database.schema import DATA_QUALITY_REPORTS

QUALITY: Final = "quality"
RECONCILIATION: Final = "reconciliation"


class QualityReports:
    """The table behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def keep(self, report: Mapping[str, Any], created_at: datetime) -> dict[str, Any]:
        """Keep a report; returns it with its ``id`` and ``created_at``. One that states no ``kind`` is of QUALITY."""
        kept = {"id": str(uuid.uuid4()), **report, "created_at": format_iso(to_ns(created_at))}
        statement = insert(DATA_QUALITY_REPORTS).values(
            id=uuid.UUID(kept["id"]),
            symbol=report["symbol"],
            period_start=to_datetime(parse_iso_ns(report["period_start"])),
            period_end=to_datetime(parse_iso_ns(report["period_end"])),
            missing_rate=report["missing_rate"],
            anomaly_rate=report["anomaly_rate"],
            sequence_gaps=report["sequence_gaps"],
            desynchronization_events=report["desynchronization_events"],
            report=kept,
            created_at=created_at,
            kind=report.get("kind", QUALITY),
        )
        with transaction(self._engine) as connection:
            connection.execute(statement)
        return kept

    def newest(self, symbol: str, *, limit: int) -> list[dict[str, Any]]:
        """The newest reports of a symbol's quality, newest first."""
        reports = DATA_QUALITY_REPORTS.c
        query = (
            select(reports.report)
            .where(reports.symbol == symbol, reports.kind == QUALITY)
            .order_by(reports.created_at.desc())
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            return [dict(row) for row in connection.execute(query).scalars()]

    def reconciliations(self, symbol: str, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        """The newest reconciliation of each day that begins in [begin, end), oldest day first."""
        reports = DATA_QUALITY_REPORTS.c
        query = (
            select(reports.report)
            .where(
                reports.symbol == symbol,
                reports.kind == RECONCILIATION,
                reports.period_start >= begin,
                reports.period_start < end,
            )
            .order_by(reports.period_start, reports.created_at)
        )
        with transaction(self._engine) as connection:
            # Of two of one day the later one stays.
            return [*{row["period_start"]: dict(row) for row in connection.execute(query).scalars()}.values()]
