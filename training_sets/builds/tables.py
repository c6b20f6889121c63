"""Tables that a build reads beside the feature log: of which labels are made, and with which features are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyarrow.fs import LocalFileSystem

from feature_repo.freshness import table_group
from market.errors import InvalidRequest, NotFound
from storage.tables.computing import added_tables
from storage.tables.mapping import TableMapping
from storage.tables.reading import Table, read_table
from training_sets.builds.place import BuildPlace
from training_sets.dataset.inputs import dataset_inputs
from training_sets.provenance import outside_entry
from training_sets.request.request import DatasetRequest
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.session_prices import BARS


def needed_mappings(request: DatasetRequest, features: DatasetFeatures, place: BuildPlace) -> dict[str, TableMapping]:
    """By name the tables of labels over sessions, and of the joined views that stand on tables.

    Raises InvalidRequest where the bars of sessions were not added.
    """
    views = dict.fromkeys(reference.partition(":")[0] for reference in features.references)
    groups = [group for view in views if (group := table_group(view)) is not None]
    wanted = dict.fromkeys([BARS] if request.sessions is not None else [])
    wanted |= dict.fromkeys(table for group in groups for table in group.tables)
    if not wanted or place.tables_folder is None:
        added = {}
    else:
        added = {mapping.table: mapping for mapping in added_tables(place.tables_folder)}
    if request.sessions is not None and BARS not in added:
        raise InvalidRequest(
            f"calendar: must be with a table {BARS}, of whose closes labels are made, was without; add it by "
            "feature-service tables add"
        )
    return {table: added[table] for table in wanted if table in added}


def build_inputs(request: DatasetRequest, features: DatasetFeatures, place: BuildPlace) -> dict[str, Any]:
    """Entries of the manifest: those of ``dataset_inputs``, and the files of bars that labels are made of.

    Raises CorruptStore, and as ``needed_mappings`` does.
    """
    inputs = dataset_inputs(request, features, place.features, place.raw.parquet, place.rules)
    if request.sessions is None:
        return inputs
    files = needed_mappings(request, features, place)[BARS].files()
    return {**inputs, "label_files": [outside_entry(LocalFileSystem(), str(file)) for file in files]}


def read_tables(request: DatasetRequest, features: DatasetFeatures, place: BuildPlace) -> Mapping[str, Table]:
    """Those tables as they are now. Raises as ``needed_mappings`` and ``read_table`` do."""
    found = {}
    for name, mapping in needed_mappings(request, features, place).items():
        try:
            found[name] = read_table(mapping)
        except NotFound as error:
            raise InvalidRequest(str(error)) from error
    return found
