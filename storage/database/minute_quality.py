"""Data quality by the minute in PostgreSQL, and the events that were found: what was wrong from when to when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from storage.database.connections import open_engine, transaction
from storage.database.schema import DATA_QUALITY_EVENTS, DATA_QUALITY_METRICS

_KEY_OF_MINUTE: Final = ("symbol", "metric_timestamp")
_KEY_OF_EVENT: Final = ("symbol", "stream", "what", "begin_at")


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a symbol was judged. carried: what its last minute left to the next."""

    minute: datetime
    next_seq: int | None
    carried: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """Something wrong with a stream of a symbol. end_at: None while it lasts."""

    symbol: str
    stream: str
    what: str
    severity: str
    begin_at: datetime
    end_at: datetime | None
    detail: str


class MinuteQualityStore:
    """The tables behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def reached(self) -> dict[str, Reached]:
        """The last minute of each symbol."""
        table = DATA_QUALITY_METRICS.c
        query = (
            select(table.symbol, table.metric_timestamp, table.next_seq, table.carried)
            .ext(distinct_on(table.symbol))
            .order_by(table.symbol, table.metric_timestamp.desc())
        )
        with transaction(self._engine) as connection:
            return {row.symbol: Reached(*row[1:]) for row in connection.execute(query)}

    def add(self, minutes: Sequence[Mapping[str, Any]], events: Sequence[StoredEvent]) -> None:
        """Add minutes, as rows of the table, and events, all or nothing; what is there is replaced."""
        with transaction(self._engine) as connection:
            if minutes:
                new = insert(DATA_QUALITY_METRICS).values([dict(each) for each in minutes])
                changed = {name: new.excluded[name] for name in minutes[0] if name not in _KEY_OF_MINUTE}
                connection.execute(new.on_conflict_do_update(index_elements=_KEY_OF_MINUTE, set_=changed))
            for each in events:
                values = {name: getattr(each, name) for name in StoredEvent.__slots__}
                told = insert(DATA_QUALITY_EVENTS).values(values)
                changed = {name: told.excluded[name] for name in ("severity", "end_at", "detail")}
                connection.execute(told.on_conflict_do_update(index_elements=_KEY_OF_EVENT, set_=changed))

    def events(self, since: datetime) -> list[StoredEvent]:
        """Those that last or ended since then, the oldest first."""
        table = DATA_QUALITY_EVENTS.c
        columns = [table[name] for name in StoredEvent.__slots__]
        query = (
            select(*columns)
            .where(or_(table.end_at.is_(None), table.end_at >= since))
            .order_by(table.begin_at, table.symbol, table.stream)
        )
        with transaction(self._engine) as connection:
            return [StoredEvent(**row) for row in connection.execute(query).mappings()]
