"""Our stores in the form that Feast's universal suites expect: a module that FULL_REPO_CONFIGS_MODULE names.

It is imported by Feast's tests, next to their packages; ``tools/feast_conformity.py`` starts them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from feast import FileSource
from feast.data_source import DataSource
from tests.universal.feature_repos.repo_configuration import OFFLINE_STORE_TO_PROVIDER_CONFIG
from tests.universal.feature_repos.universal.data_sources import file as file_sources

from feature_repo.offline_store import AsOfOfflineStoreConfig


class AsOfFileDataSourceCreator(file_sources.FileDataSourceCreator):  # type: ignore[misc]  # Feast's tests have no types
    """Sources that are one Parquet file."""

    def create_offline_store_config(self) -> AsOfOfflineStoreConfig:
        return AsOfOfflineStoreConfig()


class AsOfFolderDataSourceCreator(AsOfFileDataSourceCreator):
    """Sources that are a folder of Parquet files, each with a part of the rows."""

    def create_data_source(self, *arguments: object, **options: object) -> DataSource:
        source = super().create_data_source(*arguments, **options)
        rows = pq.read_table(source.path)
        folder = Path(f"{source.path}.d")
        folder.mkdir()
        half = rows.num_rows // 2
        for name, part in (("a", rows.slice(0, half)), ("b", rows.slice(half))):
            pq.write_table(pa.table(part), folder / f"{name}.parquet")
        self.dirs.append(str(folder))
        return FileSource(
            path=str(folder),
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column,
            field_mapping=source.field_mapping,
        )


# What a test asks for by the name "file" is ours too, and so is the store behind every test of online stores.
OFFLINE_STORE_TO_PROVIDER_CONFIG["file"] = ("local", AsOfFileDataSourceCreator)
AVAILABLE_OFFLINE_STORES = [("local", AsOfFileDataSourceCreator), ("local", AsOfFolderDataSourceCreator)]
_REDIS = {
    "type": "feature_repo.online_store.AtomicRedisOnlineStore",
    "connection_string": os.environ["FEAST_CONFORMITY_REDIS"],
}


class _OneStore(dict[str, tuple[dict[str, str], None]]):
    """Our store once, and also by the names of stores that tests of types and of asynchronous calls ask for."""

    def __contains__(self, name: object) -> bool:
        return name in {"sqlite", "mongodb"} or super().__contains__(name)

    def get(self, name: str, default: object = None) -> tuple[dict[str, str], None]:
        del name, default
        return self["redis"]


AVAILABLE_ONLINE_STORES = _OneStore(redis=(_REDIS, None))
