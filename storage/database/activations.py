"""Activations while workers run: one decision each in PostgreSQL, and what every worker says of it.

1. ``begin`` opens one; only one is open at a time. Workers see it, prepare, and ``confirm`` that they are ready.
2. It is committed together with the version that becomes active, and says behind which row the workers change.
3. Where a worker fails before, it ``failed`` and nothing has changed; where one fails afterwards it is ``taken_back``,
   together with the version that was active before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from market.errors import Conflict
from storage.database.connections import open_engine, transaction
from storage.database.schema import (
    FEATURE_REGISTRY_ACTIVATIONS,
    FEATURE_REGISTRY_CONFIRMATIONS,
    FEATURE_REGISTRY_VERSIONS,
)

State = Literal["preparing", "committed", "failed", "taken_back"]
WorkerState = Literal["preparing", "ready", "changed", "serving", "failed"]
PREPARING: Final = "preparing"
COMMITTED: Final = "committed"
OPENING_LOCK: Final = 0x6665_6174_6F70_656E
"""Key of the advisory lock under which an activation begins."""

_ACTIVATIONS = FEATURE_REGISTRY_ACTIVATIONS
_CONFIRMATIONS = FEATURE_REGISTRY_CONFIRMATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One activation; times are aware. from_row_ns: the last row of the version before. reason: why it failed."""

    id: int
    version: str
    previous_version: str
    feature_set: str
    state: State
    asked_at: datetime
    deadline_at: datetime
    settled_at: datetime | None = None
    from_row_ns: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What a worker says of an activation. detail: why it failed, or what it found. from_row_ns: its own."""

    worker_id: str
    state: WorkerState
    at: datetime
    detail: str | None = None
    from_row_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Agreed:
    """That an activation may be committed: every worker is ready, and changes behind this row."""

    activation_id: int
    from_row_ns: int


class ActivationStore:
    """The two tables behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def begin(
        self, version: str, *, previous: str, feature_set: str, asked_at: datetime, deadline_at: datetime
    ) -> Activation:
        """Open an activation. One whose time is over ends by that. Raises Conflict while another is open."""
        values = {
            "version": version,
            "previous_version": previous,
            "feature_set": feature_set,
            "state": PREPARING,
            "asked_at": asked_at,
            "deadline_at": deadline_at,
        }
        with transaction(self._engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(OPENING_LOCK)))
            is_open = _ACTIVATIONS.c.state == PREPARING
            over = update(_ACTIVATIONS).where(is_open, _ACTIVATIONS.c.deadline_at < asked_at)
            connection.execute(
                over.values(state="failed", settled_at=asked_at, reason="no decision within its time limit")
            )
            other = connection.execute(select(_ACTIVATIONS.c.version).where(is_open)).scalar_one_or_none()
            if other is not None:
                raise Conflict(f"registry: must have no activation under way, had that of {other}")
            row = connection.execute(insert(_ACTIVATIONS).values(values).returning(_ACTIVATIONS)).mappings().one()
        return Activation(**row)

    def get(self, activation_id: int) -> Activation:
        """One activation."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(_ACTIVATIONS).where(_ACTIVATIONS.c.id == activation_id)).mappings().one()
        return Activation(**row)

    def newest(self) -> tuple[Activation | None, str | None]:
        """The newest activation, and the version that the database calls active; each None where none ever was."""
        with transaction(self._engine) as connection:
            query = select(_ACTIVATIONS).order_by(_ACTIVATIONS.c.id.desc()).limit(1)
            row = connection.execute(query).mappings().one_or_none()
            versions = FEATURE_REGISTRY_VERSIONS
            active = connection.execute(select(versions.c.version).where(versions.c.is_active)).scalar_one_or_none()
        return None if row is None else Activation(**row), active

    def last_committed(self, version: str) -> Activation | None:
        """The newest activation that was decided for, where it is of this version."""
        query = (
            select(_ACTIVATIONS)
            .where(_ACTIVATIONS.c.state.in_([COMMITTED, "taken_back"]))
            .order_by(_ACTIVATIONS.c.id.desc())
            .limit(1)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return Activation(**row) if row is not None and (row["version"], row["state"]) == (version, COMMITTED) else None

    def confirm(self, activation_id: int, confirmation: Confirmation) -> None:
        """Keep what a worker says, in the place of what it said before."""
        values = {name: getattr(confirmation, name) for name in ("worker_id", "state", "at", "detail", "from_row_ns")}
        added = upsert(_CONFIRMATIONS).values(activation_id=activation_id, **values)
        changed = {name: value for name, value in values.items() if name != "worker_id"}
        with transaction(self._engine) as connection:
            connection.execute(added.on_conflict_do_update(index_elements=["activation_id", "worker_id"], set_=changed))

    def confirmations(self, activation_id: int) -> dict[str, Confirmation]:
        """What each worker says of an activation, by worker."""
        names = [column for column in _CONFIRMATIONS.c if column.name != "activation_id"]
        query = select(*names).where(_CONFIRMATIONS.c.activation_id == activation_id).order_by(names[0])
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return {row["worker_id"]: Confirmation(**row) for row in rows}


def commit(connection: Connection, agreed: Agreed, at: datetime) -> None:
    """Commit an open activation, in the transaction that makes its version active. Raises Conflict when it is over."""
    is_open = update(_ACTIVATIONS).where(_ACTIVATIONS.c.id == agreed.activation_id, _ACTIVATIONS.c.state == PREPARING)
    values = {"state": COMMITTED, "settled_at": at, "from_row_ns": agreed.from_row_ns}
    if not connection.execute(is_open.values(values)).rowcount:
        raise Conflict("registry: the activation must be under way to be committed, was over")


def failed(connection: Connection, activation_id: int, reason: str | None, at: datetime) -> bool:
    """End an open activation, of which nothing came; False where it was over."""
    return _end(connection, activation_id, PREPARING, "failed", reason, at)


def taken_back(connection: Connection, activation_id: int, reason: str | None, at: datetime) -> bool:
    """End a committed activation that did not last; False where that was done before."""
    return _end(connection, activation_id, COMMITTED, "taken_back", reason, at)


def _end(
    connection: Connection, activation_id: int, before: State, after: State, reason: str | None, at: datetime
) -> bool:
    known = update(_ACTIVATIONS).where(_ACTIVATIONS.c.id == activation_id, _ACTIVATIONS.c.state == before)
    return bool(connection.execute(known.values(state=after, settled_at=at, reason=reason)).rowcount)
