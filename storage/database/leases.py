"""Leases in PostgreSQL: which worker owns which symbol, and what each worker says of itself.

A lease is good until its time by the database's clock. Who takes one over from another gets a higher fence, and the
renewal of the one before finds no row any more: that worker must stop writing. A fence is no lower than the second it
was given in, so that it rises even when the database was recreated: stores remember the highest one they have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from storage.database.connections import open_engine, transaction
from storage.database.schema import INGEST_WORKERS, SYMBOL_LEASES


def _written(status: Mapping[str, Any]) -> bytes:
    """JSON in an eighth of the time of ``json.dumps``, which keeps every other thread waiting: 2 ms for 500 symbols."""
    # Trades are counted by the seconds of a window.
    return orjson.dumps(status, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


class Leases:
    """The two tables behind one SQLAlchemy URL; connects at first use, safe among threads.

    Every method raises StoreUnavailable when the database does not answer or was not upgraded.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, write_json=_written)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def acquire(self, worker_id: str, symbols: Sequence[str], *, ttl: timedelta) -> dict[str, int]:
        """Take the leases that are free or have run out; the fence of each symbol that is ours then."""
        if not symbols:
            return {}
        until = func.clock_timestamp() + ttl
        second = cast(func.extract("epoch", func.clock_timestamp()), BigInteger)
        table = SYMBOL_LEASES
        ours = {"worker_id": worker_id, "fence": second, "expires_at": until}
        new = insert(table).values([{"symbol": symbol, **ours} for symbol in sorted(symbols)])
        taken = new.on_conflict_do_update(
            index_elements=[table.c.symbol],
            set_={**ours, "fence": func.greatest(table.c.fence + 1, second)},
            where=or_(table.c.expires_at < func.clock_timestamp(), table.c.worker_id == worker_id),
        ).returning(table.c.symbol, table.c.fence)
        with transaction(self._engine) as connection:
            return {row.symbol: row.fence for row in connection.execute(taken)}

    def renew(self, worker_id: str, fences: Mapping[str, int], *, ttl: timedelta) -> set[str]:
        """Prolong our leases; returns the symbols whose lease another worker has taken since."""
        table = SYMBOL_LEASES
        prolonged = (
            update(table)
            .where(table.c.worker_id == worker_id, table.c.symbol.in_(sorted(fences)))
            .values(expires_at=func.clock_timestamp() + ttl)
            .returning(table.c.symbol, table.c.fence)
        )
        with transaction(self._engine) as connection:
            ours = {row.symbol: row.fence for row in connection.execute(prolonged)}
        return {symbol for symbol, fence in fences.items() if ours.get(symbol) != fence}

    def release(self, worker_id: str) -> None:
        """Let every lease of the worker go, so that another one need not wait."""
        table = SYMBOL_LEASES
        gone = update(table).where(table.c.worker_id == worker_id).values(expires_at=func.clock_timestamp())
        with transaction(self._engine) as connection:
            connection.execute(gone)

    def owners(self) -> dict[str, tuple[str, int]]:
        """Worker and fence by symbol, of the leases that are good now."""
        table = SYMBOL_LEASES
        query = select(table).where(table.c.expires_at >= func.clock_timestamp())
        with transaction(self._engine) as connection:
            return {row.symbol: (row.worker_id, row.fence) for row in connection.execute(query)}

    def write_status(self, worker_id: str, *, started_at: datetime, status: Mapping[str, Any]) -> None:
        """Say what the worker is doing now."""
        values = {"worker_id": worker_id, "started_at": started_at, "heartbeat_at": func.clock_timestamp()}
        told = insert(INGEST_WORKERS).values(**values, status=dict(status))
        told = told.on_conflict_do_update(
            index_elements=[INGEST_WORKERS.c.worker_id],
            set_={name: told.excluded[name] for name in ("started_at", "heartbeat_at", "status")},
        )
        with transaction(self._engine) as connection:
            connection.execute(told)

    def forget_workers(self, *, silent_for: timedelta) -> None:
        """Remove workers that have said nothing for so long."""
        old = INGEST_WORKERS.c.heartbeat_at < func.clock_timestamp() - silent_for
        with transaction(self._engine) as connection:
            connection.execute(delete(INGEST_WORKERS).where(old))
