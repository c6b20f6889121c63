"""The state of registry versions in PostgreSQL: which is active, what each was when recorded, and who changed what.

1. Files are the truth for what a version holds; a row says what was done with it.
2. At most one version is active. A change of it names the one that was active when it was decided, and is refused when
   that is no longer so: of two at once one wins.
3. Each change writes its line of the audit in the same transaction. Lines never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from market.errors import Conflict
from storage.database.activations import Agreed, commit, failed, taken_back
from storage.database.connections import open_engine, transaction
from storage.database.registry_records import Change, Checked, VersionRecord
from storage.database.schema import DATASETS, FEATURE_REGISTRY_AUDIT, FEATURE_REGISTRY_VERSIONS

MOST_DATASETS_NAMED: Final = 20
ACTIVATION_LOCK: Final = 0x6665_6174_6163_7469
"""Key of the advisory lock under which it changes which version is active."""

_VERSIONS = FEATURE_REGISTRY_VERSIONS


class RegistryStore:
    """The tables behind one SQLAlchemy URL; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def records(self) -> dict[str, VersionRecord]:
        """Every version that was recorded, by its name."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(_VERSIONS)).mappings().all()
        return {row["version"]: VersionRecord(**row) for row in rows}

    def active(self) -> VersionRecord | None:
        """The version that is active; None where none ever was."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(_VERSIONS).where(_VERSIONS.c.is_active)).mappings().one_or_none()
        return None if row is None else VersionRecord(**row)

    def create(self, checked: Checked, change: Change) -> VersionRecord:
        """Record a version whose file is new. Raises Conflict when it was recorded before."""
        values = {
            "version": checked.version,
            "created_at": change.at,
            "created_by": change.made_by,
            **checked.columns(change.at),
        }
        with transaction(self._engine) as connection:
            row = connection.execute(insert(_VERSIONS).values(values).returning(_VERSIONS)).mappings().one()
            _write(connection, change)
        return VersionRecord(**row)

    def sync(self, checked: Checked, change: Change) -> VersionRecord:
        """Record the result of reading a version's file, whether the version was recorded before or not."""
        with transaction(self._engine) as connection:
            row = _keep(connection, checked, change)
            _write(connection, change)
        return VersionRecord(**row)

    def activate(
        self,
        checked: Checked,
        change: Change,
        *,
        expected: str | None,
        warnings: Sequence[str] = (),
        breaking: Sequence[str] = (),
        agreed: Agreed | None = None,
    ) -> VersionRecord:
        """Make a version the active one, in the place of ``expected``: the one that the database calls active.

        A rollback remembers where it came from and leaves what the version came after as it was. agreed: of the workers
        that change with it. Raises Conflict when another is active by now, or the agreement is over.
        """
        is_rollback = change.action == "rollback"
        values = {
            "is_active": True,
            "is_shadow": False,
            "activated_by": change.made_by,
            "activation_reason": change.reason,
            "compatibility_warnings": list(warnings),
            "breaking_changes": list(breaking),
            "rollback_from": change.previous_version if is_rollback else None,
        }
        if not is_rollback:
            values["previous_version"] = change.previous_version
        with transaction(self._engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(ACTIVATION_LOCK)))
            _leave(connection, expected)
            _keep(connection, checked, change)
            if agreed is not None:
                commit(connection, agreed, change.at)
            found = _VERSIONS.c.version == checked.version
            row = (
                connection.execute(update(_VERSIONS).where(found).values(values).returning(_VERSIONS)).mappings().one()
            )
            _write(connection, change)
        return VersionRecord(**row)

    def take_back(self, agreed_id: int, change: Change) -> bool:
        """Make the version before active again, since one that was committed fails; False where that is done already.

        ``change`` is of the version that failed; its previous version is what was served before.
        """
        with transaction(self._engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(ACTIVATION_LOCK)))
            if not taken_back(connection, agreed_id, change.reason, change.at):
                return False
            of_failed = update(_VERSIONS).where(_VERSIONS.c.is_active, _VERSIONS.c.version == change.version)
            if connection.execute(of_failed.values(is_active=False)).rowcount:
                before = update(_VERSIONS).where(_VERSIONS.c.version == change.previous_version)
                # Without a row of its own the shipped default counts as active where none is.
                connection.execute(before.values(is_active=True))
            _write(connection, change)
        return True

    def refuse(self, agreed_id: int, change: Change) -> None:
        """Keep that an activation failed before anything changed."""
        with transaction(self._engine) as connection:
            if failed(connection, agreed_id, change.reason, change.at):
                _write(connection, change)

    def shadow(self, checked: Checked, change: Change, *, row_cost_ms: float) -> VersionRecord:
        """Let a version be served next to the active one. Raises Conflict if it is active, or served already."""
        values = {"is_shadow": True, "shadow_row_cost_ms": row_cost_ms}
        with transaction(self._engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(ACTIVATION_LOCK)))
            known = _keep(connection, checked, change)
            if known["is_active"] or known["is_shadow"]:
                raise Conflict(f"registry version {checked.version}: must not be served already to start as a shadow")
            found = _VERSIONS.c.version == checked.version
            row = connection.execute(update(_VERSIONS).where(found).values(values).returning(_VERSIONS))
            record = VersionRecord(**row.mappings().one())
            _write(connection, change)
        return record

    def end_shadow(self, version: str, change: Change) -> VersionRecord:
        """Stop serving it next to the active one. Raises Conflict if it was not served."""
        found = update(_VERSIONS).where(_VERSIONS.c.version == version, _VERSIONS.c.is_shadow)
        with transaction(self._engine) as connection:
            row = connection.execute(found.values(is_shadow=False).returning(_VERSIONS)).mappings().one_or_none()
            if row is None:
                raise Conflict(f"registry version {version}: must be served next to the active one, was not")
            _write(connection, change)
        return VersionRecord(**row)

    def shadows(self) -> list[str]:
        """The versions that are served next to the active one, sorted."""
        query = select(_VERSIONS.c.version).where(_VERSIONS.c.is_shadow).order_by(_VERSIONS.c.version)
        with transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def loaded(self, version: str, at: datetime) -> None:
        """Keep when a process last began to serve a version."""
        with transaction(self._engine) as connection:
            connection.execute(update(_VERSIONS).where(_VERSIONS.c.version == version).values(loaded_at=at))

    def delete(self, version: str, change: Change) -> None:
        """Forget a version. Raises Conflict when it is active, a dataset has it or a rollback would return to it."""
        with transaction(self._engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(ACTIVATION_LOCK)))
            row = connection.execute(select(_VERSIONS).where(_VERSIONS.c.version == version))
            known = row.mappings().one_or_none()
            if known is not None and known["is_active"]:
                raise Conflict(f"registry version {version}: must not be active to be deleted, was")
            back = select(_VERSIONS.c.version).where(_VERSIONS.c.is_active, _VERSIONS.c.previous_version == version)
            if connection.execute(back).first() is not None:
                raise Conflict(f"registry version {version}: must not be what a rollback returns to, was")
            used = connection.execute(_datasets_of(version)).scalar_one()
            if used:
                raise Conflict(f"registry version {version}: must be used by no dataset to be deleted, was by {used}")
            connection.execute(delete(_VERSIONS).where(_VERSIONS.c.version == version))
            _write(connection, change)

    def dataset_counts(self) -> dict[str, int]:
        """How many datasets each version has, by version."""
        query = select(DATASETS.c.feature_registry_version, func.count()).group_by(DATASETS.c.feature_registry_version)
        with transaction(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def datasets(self, version: str) -> list[str]:
        """Ids of the newest datasets of a version, at most MOST_DATASETS_NAMED."""
        query = (
            select(DATASETS.c.dataset_id)
            .where(DATASETS.c.feature_registry_version == version)
            .order_by(DATASETS.c.created_at.desc(), DATASETS.c.dataset_id)
            .limit(MOST_DATASETS_NAMED)
        )
        with transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def audit(self, *, version: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest lines of the audit, newest first, of one version where it is given: as Change, with ``id``."""
        query = select(FEATURE_REGISTRY_AUDIT).order_by(FEATURE_REGISTRY_AUDIT.c.id.desc()).limit(limit)
        if version is not None:
            query = query.where(FEATURE_REGISTRY_AUDIT.c.version == version)
        with transaction(self._engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _leave(connection: Connection, expected: str | None) -> None:
    """Make the expected version inactive; under the lock, the second of two at once finds another."""
    query = select(_VERSIONS.c.version).where(_VERSIONS.c.is_active)
    found = connection.execute(query).scalar_one_or_none()
    if found != expected:
        raise Conflict(
            f"registry: must still have {expected or 'no version'} activated, was changed to {found} at the same time"
        )
    connection.execute(update(_VERSIONS).where(_VERSIONS.c.is_active).values(is_active=False))


def _keep(connection: Connection, checked: Checked, change: Change) -> RowMapping:
    values = checked.columns(change.at)
    added = upsert(_VERSIONS).values(version=checked.version, created_at=change.at, created_by=change.made_by, **values)
    row = connection.execute(added.on_conflict_do_update(index_elements=["version"], set_=values).returning(_VERSIONS))
    return row.mappings().one()


def _write(connection: Connection, change: Change) -> None:
    connection.execute(insert(FEATURE_REGISTRY_AUDIT).values(asdict(change)))


def _datasets_of(version: str) -> Any:  # noqa: ANN401  # a query, whose type says nothing
    return select(func.count()).where(DATASETS.c.feature_registry_version == version)
