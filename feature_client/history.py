"""History for quants: the feature log's rows of a period in a frame, or a day at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from market.errors import InvalidRequest
from storage.features.history import History, groups_with
from storage.features.log import FeatureLog
from transforms.rows import FeatureGroup, FeatureSet

if TYPE_CHECKING:
    import pandas as pd

    from feature_repo.store import FeatureStore


@dataclass(frozen=True, slots=True)
class FeatureHistory:
    """Rows of one symbol in order of time; the log is read again each time they are requested.

    Columns: symbol, timestamp (the row time), available (when the row was readable as a whole), then the features in
    the requested order, then the status of each of their views, as in ``position:status``: a category of texts such
    as OK and NO_DATA, null where the view has no row. NaN is unknown; a position's 0 under NO_DATA is too. Reading
    raises CorruptStore.
    """

    history: History

    def batches(self) -> Iterator[pa.RecordBatch]:
        """A batch for each UTC day that has rows; one is held at a time."""
        return self.history.batches()

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_batches(self.batches(), schema=self.history.schema)

    def to_pandas(self) -> pd.DataFrame:
        """Times as datetime64[ns, UTC]."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rows for any Arrow consumer, day by day: ``polars.DataFrame(history)``, ``duckdb.from_arrow``."""
        reader = pa.RecordBatchReader.from_batches(self.history.schema, self.batches())
        export: Callable[[object], object] = reader.__arrow_c_stream__  # its stub has no types
        return export(requested_schema)


def logged_groups(
    store: FeatureStore, repo_path: Path, features: Sequence[str] | None
) -> tuple[FeatureLog, tuple[FeatureGroup, ...]]:
    """The log behind Feast's views and the groups in it that hold these features, each with only those.

    Raises InvalidRequest for a feature that no view has, or for a view that is not on the feature log.
    """
    views = [(view, view.batch_source, view.tags.get("fingerprint")) for view in store.list_feature_views()]
    wanted = {feature.rpartition(":")[2] for feature in features or ()}
    groups, folders = [], set()
    columns: list[str] = []
    for view, source, fingerprint in views:
        names = tuple(each.name for each in view.features)
        if wanted and not wanted & set(names):
            continue
        path = getattr(source, "path", None)
        if fingerprint is None or path is None or Path(path).parts[-2:] != (view.name, fingerprint):
            raise InvalidRequest(f"{view.name}: must be a view on Feature Service's feature log, was on {path}")
        folders.add((repo_path / path).parents[1])
        indices = tuple(range(len(columns), len(columns) + len(names)))
        groups.append(FeatureGroup(view.name, fingerprint, names, indices))
        columns += names
    everything = FeatureSet("of the repository", tuple(columns), tuple(groups), "")
    chosen = groups_with(everything, features)
    if len(folders) != 1:
        raise InvalidRequest(f"feature views: must lie in one feature log, was {sorted(map(str, folders))}")
    return FeatureLog(folders.pop()), chosen
