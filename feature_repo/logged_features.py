"""Feast's feature logging on our offline store: what was served, appended to a folder that is read as a source."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from feast.feature_logging import LoggingDestination
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource

from feature_repo.parquet_errors import reading
from feature_repo.parquet_source import locate
from feature_repo.parquet_writing import partitions, write_file
from market.errors import InvalidRequest


def write_logged(repo_path: Path | None, data: pa.Table | Path, destination: LoggingDestination) -> None:
    """Append rows to the destination's folder, a file in each of its hive partitions that they concern.

    data: the rows, or where they lie as Parquet. Raises InvalidRequest for another destination than files.
    """
    if not isinstance(destination, FileLoggingDestination):
        raise InvalidRequest(f"logging destination: must be of files, was {type(destination).__name__}")
    filesystem, root = locate(
        repo_path, FileSource(path=destination.path, s3_endpoint_override=destination.s3_endpoint_override)
    )
    if isinstance(data, Path):
        with reading(str(data)):
            data = pq.read_table(data)
    for folder, rows in partitions(data, destination.partition_by or []):
        place = "/".join(filter(None, [root.rstrip("/"), folder]))
        filesystem.create_dir(place, recursive=True)
        # A name of its own: writers of other machines are not seen by a lock.
        write_file([rows], filesystem, f"{place}/{uuid.uuid4().hex}.parquet")
