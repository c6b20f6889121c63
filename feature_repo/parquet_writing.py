"""Parquet as the offline store writes it: under another name, then moved, so that half a file is never seen."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from feature_repo.parquet_errors import reading
from feature_repo.parquet_pruning import HIVE_NULL
from feature_repo.parquet_source import ParquetSource

_PART: Final = re.compile(r"part-(\d{8})\.parquet")


def append(source: ParquetSource, table: pa.Table) -> None:
    """Add rows; the caller holds the folder's lock and has given them the columns of ``schema``."""
    if not source.is_folder:
        with reading(source.path):
            written = pq.read_table(source.path, filesystem=source.filesystem)
        table = table.select(written.column_names).cast(written.schema)
        write_file([pa.concat_tables([written, table])], source.filesystem, source.path)
        return
    for below, rows in partitions(table, source.partitions.names):
        folder = "/".join(filter(None, [source.path, below]))
        source.filesystem.create_dir(folder, recursive=True)
        taken = [_PART.fullmatch(info.base_name) for info in source.filesystem.get_file_info(pafs.FileSelector(folder))]
        number = 1 + max((int(match[1]) for match in taken if match), default=-1)
        write_file([rows], source.filesystem, f"{folder}/part-{number:08d}.parquet")


def partitions(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each combination of these columns, without them, and its folder as hive spells it."""
    group = _partition_groups(table, names)
    for code in range(int(group.max(initial=-1)) + 1):
        rows = table.filter(pa.array(group == code))
        folder = "/".join(f"{name}={_hive_value(rows[name][0])}" for name in names)
        yield folder, rows.drop_columns(list(names))


def _partition_groups(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Which partition each row belongs to, numbered from 0; nulls are a partition."""
    if not names:
        return np.zeros(table.num_rows, np.intp)
    keys = pd.MultiIndex.from_arrays([table[name].to_pandas() for name in names])
    return pd.factorize(keys, use_na_sentinel=False)[0]


def _hive_value(value: pa.Scalar[Any]) -> str:
    return quote(str(value.as_py()), safe="") if value.is_valid else HIVE_NULL


def write_file(tables: Iterable[pa.Table], filesystem: pafs.FileSystem, path: str) -> None:
    """Write tables of one schema, at least one, as they come: one at a time is held."""
    folder, _, name = path.rpartition("/")
    unfinished = f"{folder}/.{name}.unfinished"
    coming = iter(tables)
    first = next(coming)
    with pq.ParquetWriter(unfinished, first.schema, filesystem=filesystem) as writer:
        writer.write_table(first)
        for table in coming:
            writer.write_table(table)
    filesystem.move(unfinished, path)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the folder against other writers; the system lets go when a process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
