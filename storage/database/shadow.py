"""Shadow parity in PostgreSQL: how far each symbol was compared, what differed, and the groups that are withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import Insert, insert

from storage.database.connections import open_engine, transaction
from storage.database.schema import QUARANTINED_GROUPS, SHADOW_MISMATCHES, SHADOW_PARITY

_SUMS = ("compared", "mismatched", "quarantined", "not_compared")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowState:
    """What was compared of a symbol's rows so far; counts are rows.

    compared_until: the newest row that was compared. reason: why the last ones could not be.
    """

    symbol: str
    looked_at: datetime
    compared_until: datetime | None
    compared: int
    mismatched: int
    quarantined: int
    not_compared: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMismatch:
    """A group of a served row that was not what the tape gives; values as text, messages received around the row."""

    symbol: str
    row_ns: int
    group: str
    feature: str
    served: str
    computed: str
    found_in: str
    rows: int
    messages: Sequence[Mapping[str, Any]]
    found_at: datetime


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A group of a symbol that is withheld from readers."""

    symbol: str
    group: str
    since: datetime
    reason: str


class ShadowStore:
    """The tables behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def add(
        self, looks: Sequence[ShadowState], mismatches: Sequence[FoundMismatch], quarantines: Sequence[Quarantine] = ()
    ) -> None:
        """Add the counts of looks to those of their symbols, keep what differed, and withhold groups; all or nothing.

        A group that is withheld already stays so since then.
        """
        new = insert(SHADOW_PARITY)
        changed: dict[str, Any] = {name: SHADOW_PARITY.c[name] + new.excluded[name] for name in _SUMS}
        changed["looked_at"] = new.excluded.looked_at
        changed["reason"] = func.coalesce(new.excluded.reason, SHADOW_PARITY.c.reason)
        changed["compared_until"] = func.greatest(new.excluded.compared_until, SHADOW_PARITY.c.compared_until)
        kept: list[tuple[Insert, Sequence[Any]]] = [
            (new.on_conflict_do_update(index_elements=["symbol"], set_=changed), looks),
            (insert(SHADOW_MISMATCHES).on_conflict_do_nothing(), mismatches),
            (insert(QUARANTINED_GROUPS).on_conflict_do_nothing(), quarantines),
        ]
        with transaction(self._engine) as connection:
            for statement, rows in kept:
                if rows:  # all at once: a statement each took ten times as long
                    connection.execute(statement, [_columns(each) for each in rows])

    def states(self) -> list[ShadowState]:
        """By symbol."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(SHADOW_PARITY).order_by(SHADOW_PARITY.c.symbol)).mappings()
            return [ShadowState(**row) for row in rows]

    def mismatches(self, since: datetime, *, limit: int = 100) -> list[FoundMismatch]:
        """Those found since then, the newest first."""
        table = SHADOW_MISMATCHES
        query = select(table).where(table.c.found_at >= since).order_by(table.c.found_at.desc(), table.c.row_ns.desc())
        with transaction(self._engine) as connection:
            return [FoundMismatch(**row) for row in connection.execute(query.limit(limit)).mappings()]

    def quarantines(self) -> list[Quarantine]:
        """The groups that are withheld now, by symbol."""
        table = QUARANTINED_GROUPS
        with transaction(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.symbol, table.c.group)).mappings()
            return [Quarantine(**row) for row in rows]

    def release(self, symbol: str, group: str) -> bool:
        """Let a group be served again; whether it was withheld."""
        table = QUARANTINED_GROUPS
        with transaction(self._engine) as connection:
            gone = connection.execute(delete(table).where(table.c.symbol == symbol, table.c.group == group))
            return bool(gone.rowcount)


def _columns(row: ShadowState | FoundMismatch | Quarantine) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
