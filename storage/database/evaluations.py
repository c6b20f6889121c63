"""Evaluations of models in PostgreSQL, and a count of every model that was tried on a test split.

Both outlive their dataset: what was seen of a stretch of time stays seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_once

from storage.database.metadata import Metadata
from storage.database.schema import MODEL_EVALUATIONS, TEST_TRIALS


@dataclass(frozen=True, slots=True)
class Cell:
    """What predictions are of. test_data: the time and symbols of the test split, as a key. fold, path: None is all."""

    test_data: str
    dataset_id: str
    fold: int | None
    path: int | None

    @property
    def name(self) -> str:
        return f"fold {self.fold}" if self.path is None else f"path {self.path}"


class Evaluations:
    """The tables of a metadata store; methods raise StoreUnavailable when the database does not answer."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def keep(self, evaluation: Mapping[str, Any], created_at: datetime) -> None:
        """Keep an evaluation as it was answered."""
        statement = insert(MODEL_EVALUATIONS).values(
            evaluation_id=evaluation["evaluation_id"],
            dataset_id=evaluation["dataset_id"],
            split=evaluation["split"],
            model_version=evaluation["model_version"],
            evaluation=dict(evaluation),
            created_at=created_at,
        )
        self._metadata.write(statement)

    def newest(self, dataset_id: str, *, limit: int) -> list[dict[str, Any]]:
        """Evaluations of a dataset, the newest first."""
        kept = MODEL_EVALUATIONS.c
        query = (
            select(kept.evaluation)
            .where(kept.dataset_id == dataset_id)
            .order_by(kept.created_at.desc(), kept.evaluation_id)
            .limit(limit)
        )
        return [dict(row["evaluation"]) for row in self._metadata.rows(query)]

    def count_trials(self, cell: Cell, digests: Sequence[str]) -> int:
        """Count models by the digests of their predictions, each once; as ``trials`` afterwards."""
        rows = [
            {"test_data": cell.test_data, "dataset_id": cell.dataset_id, "cell": cell.name, "digest": digest}
            for digest in sorted(set(digests))
        ]
        statement = insert_once(TEST_TRIALS).values(rows).on_conflict_do_nothing()
        self._metadata.write(statement)
        return self.trials(cell.test_data)

    def trials(self, test_data: str) -> int:
        """How many models were tried on a test split: of each dataset as many as in the fold or path with the most.

        A model is tried on every fold or path, and is still one.
        """
        tried = TEST_TRIALS.c
        of_cell = (
            select(tried.dataset_id, func.count().label("models"))
            .where(tried.test_data == test_data)
            .group_by(tried.dataset_id, tried.cell)
            .subquery()
        )
        most = select(func.max(of_cell.c.models).label("models")).group_by(of_cell.c.dataset_id).subquery()
        [row] = self._metadata.rows(select(func.coalesce(func.sum(most.c.models), 0).label("models")))
        return int(row["models"])

    def test_data_of(self, dataset_id: str) -> str | None:
        """The key of a dataset's test split; None of one on which nothing was tried."""
        tried = TEST_TRIALS.c
        rows = self._metadata.rows(select(tried.test_data).where(tried.dataset_id == dataset_id).limit(1))
        return str(rows[0]["test_data"]) if rows else None
