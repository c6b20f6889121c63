"""A part of a view's keys: what one task of a materialization is given of the rows that the offline store returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from pandas.util import hash_pandas_object


class LargeView(Exception):  # told to who asks, no error
    """The rows of a view are more than a task is to bring online."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(f"{rows} rows")


@dataclass(frozen=True, slots=True)
class KeyPart:
    """Part ``number`` of ``count`` of the keys, by their hash; most_rows: of this part, None for any number."""

    number: int = 0
    count: int = 1
    most_rows: int | None = None


def can_be_cut(view: FeatureView) -> bool:
    """Whether a key's online row is made of rows of that key alone: no transformation or aggregation sees others."""
    return type(view) is FeatureView and not view.source_views and view.entities != [DUMMY_ENTITY_NAME]


WHOLE: Final = KeyPart()


class PartOfStore:
    """An offline store from which Feast's local engine pulls the rows of a part, in their order."""

    def __init__(self, store: OfflineStore, part: KeyPart) -> None:
        self._store = store
        self._part = part

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever else Feast asks it for
        return getattr(self._store, name)

    def pull_latest_from_table_or_query(self, **asked: Any) -> PartOfRows:  # noqa: ANN401  # Feast's interface
        """As of the store."""
        return PartOfRows(self._store.pull_latest_from_table_or_query(**asked), self._part, asked["join_key_columns"])

    def pull_all_from_table_or_query(self, **asked: Any) -> PartOfRows:  # noqa: ANN401  # Feast's interface
        """As of the store."""
        return PartOfRows(self._store.pull_all_from_table_or_query(**asked), self._part, asked["join_key_columns"])


class PartOfRows:
    """A retrieval of Feast's, of a part of the keys."""

    def __init__(self, job: RetrievalJob, part: KeyPart, keys: Sequence[str]) -> None:
        self._job = job
        self._part = part
        self._keys = keys

    def to_arrow(self) -> pa.Table:
        """The rows. Raises LargeView."""
        rows = self._job.to_arrow()
        if self._part.count > 1:
            hashes = hash_pandas_object(rows.select(self._keys).to_pandas(), index=False).to_numpy()
            rows = rows.filter(pa.array(hashes % self._part.count == self._part.number))
        if self._part.most_rows is not None and rows.num_rows > self._part.most_rows:
            raise LargeView(rows.num_rows)
        return rows
