"""Tasks of an engine in PostgreSQL: what each one is, and how it ended, until the process that asked has read it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, insert, select, update

from storage.database.metadata import Metadata
from storage.database.schema import ENGINE_TASKS

KEPT: Final = timedelta(days=2)
"""A run that is older was left by a process that died."""


class EngineTasks:
    """The table of a metadata store; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def add(self, run: str, tasks: Sequence[tuple[str, Mapping[str, Any]]], created_at: datetime) -> None:
        """Write down the kind and arguments of each task, numbered from 0, and forget runs that were left behind."""
        self._metadata.write(delete(ENGINE_TASKS).where(ENGINE_TASKS.c.created_at < created_at - KEPT))
        rows = [
            {"run": run, "number": number, "kind": kind, "arguments": dict(arguments), "created_at": created_at}
            for number, (kind, arguments) in enumerate(tasks)
        ]
        self._metadata.write(insert(ENGINE_TASKS).values(rows))

    def open(self, run: str, number: int) -> tuple[str, dict[str, Any]] | None:
        """Kind and arguments of a task that has not ended; None when it has, or when nobody waits for it any more."""
        found = ENGINE_TASKS.c
        query = select(found.kind, found.arguments).where(
            found.run == run, found.number == number, found.outcome.is_(None)
        )
        rows = self._metadata.rows(query)
        return (rows[0]["kind"], rows[0]["arguments"]) if rows else None

    def end(self, run: str, number: int, outcome: Mapping[str, Any]) -> None:
        """Write down how a task ended; the first one to do so counts."""
        found = ENGINE_TASKS.c
        self._metadata.write(
            update(ENGINE_TASKS)
            .where(found.run == run, found.number == number, found.outcome.is_(None))
            .values(outcome=dict(outcome))
        )

    def ended(self, run: str, *, but: Collection[int]) -> list[tuple[int, dict[str, Any]]]:
        """Number and outcome of the tasks that have ended, without some numbers."""
        found = ENGINE_TASKS.c
        query = select(found.number, found.outcome).where(
            found.run == run, found.outcome.is_not(None), found.number.not_in(list(but))
        )
        return [(row["number"], row["outcome"]) for row in self._metadata.rows(query.order_by(found.number))]

    def remove(self, run: str) -> None:
        """Forget a run."""
        self._metadata.write(delete(ENGINE_TASKS).where(ENGINE_TASKS.c.run == run))
