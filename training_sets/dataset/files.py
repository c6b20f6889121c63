"""The files of a dataset: one a split, written piece by piece as Parquet, CSV or HDF5.

The same rows in the same pieces give the same bytes. Unknown is NaN in Parquet and HDF5 and an empty field in CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from market.errors import CorruptStore
from training_sets.request.request import OutputFormat

SUFFIX: Final[Mapping[OutputFormat, str]] = {"parquet": ".parquet", "csv": ".csv", "hdf5": ".h5"}
_HDF5_CHUNK_ROWS: Final = 4096


class SplitFile:
    """One file that is written in pieces under a dot name and gets its own when it is finished."""

    def __init__(self, path: Path, schema: pa.Schema, output_format: OutputFormat) -> None:
        self.path = path
        self._schema = schema
        self._format = output_format
        self._unfinished = path.with_name(f".{path.name}")
        self._write: Callable[[pa.Table], None] | None = None
        self._close: Callable[[], None] | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows; the table has the schema's columns."""
        if self._write is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write, self._close = _OPEN[self._format](self._unfinished, self._schema)
        self._write(table)

    def finish(self) -> None:
        """Close the file, an empty one if nothing was written, and give it its name."""
        if self._write is None:
            self.write(self._schema.empty_table())
        self.close()
        self._unfinished.replace(self.path)

    def remove(self) -> None:
        """Close and take away what was written; the folder too, once nothing else is in it."""
        self.close()
        self._unfinished.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def close(self) -> None:
        """Close without finishing; closing again does nothing."""
        if self._close is not None:
            self._close()
            self._close = None


def read_columns(path: Path, columns: Sequence[str], output_format: OutputFormat) -> npt.NDArray[np.float64]:
    """Some of a file's float64 columns, float64 (rows, columns). Raises CorruptStore."""
    values: list[npt.NDArray[np.float64]]
    try:
        match output_format:
            case "parquet":
                table = pq.read_table(path, columns=list(columns), partitioning=None)
                values = [table.column(name).to_numpy() for name in columns]
            case "csv":
                kinds = dict.fromkeys(columns, pa.float64())
                options = pacsv.ConvertOptions(include_columns=list(columns), column_types=kinds)
                table = pacsv.read_csv(path, convert_options=options)
                values = [table.column(name).to_numpy() for name in columns]
            case _:
                with h5py.File(path) as file:
                    values = [file[name][:] for name in columns]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise CorruptStore(f"{path}: must be a file of the dataset with {', '.join(columns)}, was {error}") from error
    return np.stack(values, axis=1)


def table_schema(columns: Sequence[str], *, has_fold: bool, metadata: Mapping[str, str]) -> pa.Schema:
    """symbol, timestamp (UTC), the float64 columns, and fold (int32) where there are folds."""
    fields: list[tuple[str, pa.DataType]] = [("symbol", pa.string()), ("timestamp", pa.timestamp("ns", "UTC"))]
    fields += [(name, pa.float64()) for name in columns]
    if has_fold:
        fields.append(("fold", pa.int32()))
    return pa.schema(fields, metadata=dict[bytes | str, bytes | str](metadata.items()))


def _open_parquet(path: Path, schema: pa.Schema) -> tuple[Callable[[pa.Table], None], Callable[[], None]]:
    writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
    return writer.write_table, writer.close


def _open_csv(path: Path, schema: pa.Schema) -> tuple[Callable[[pa.Table], None], Callable[[], None]]:
    def as_text(table: pa.Table) -> pa.Table:
        # Row times are whole seconds; polars would read a column that holds "nan" as text.
        columns: list[Any] = []
        for field in table.schema:
            column: Any = table.column(field.name)
            if field.name == "timestamp":
                column = pc.strftime(column.cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
            elif pa.types.is_floating(field.type):
                column = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
            columns.append(column)
        return pa.table(columns, names=table.schema.names)

    writer = pacsv.CSVWriter(path, as_text(schema.empty_table()).schema)
    return lambda table: writer.write(as_text(table)), writer.close


def _open_hdf5(path: Path, schema: pa.Schema) -> tuple[Callable[[pa.Table], None], Callable[[], None]]:
    """One dataset a column: symbol as UTF-8, timestamp as int64 ns since 1970 UTC."""
    file = h5py.File(path, "w")
    for field in schema:
        kind = h5py.string_dtype() if field.name == "symbol" else np.int64
        if pa.types.is_floating(field.type):
            kind = np.float64
        elif field.name == "fold":
            kind = np.int32
        file.create_dataset(
            field.name, shape=(0,), maxshape=(None,), dtype=kind, chunks=(_HDF5_CHUNK_ROWS,), track_times=False
        )

    def write(table: pa.Table) -> None:
        for name in table.schema.names:
            column = table.column(name)
            values = column.cast(pa.int64()).to_numpy() if name == "timestamp" else column.to_numpy()
            stored = file[name]
            start = stored.shape[0]
            stored.resize((start + table.num_rows,))
            stored[start:] = values

    return write, file.close


_OPEN: Final[
    Mapping[OutputFormat, Callable[[Path, pa.Schema], tuple[Callable[[pa.Table], None], Callable[[], None]]]]
] = {"parquet": _open_parquet, "csv": _open_csv, "hdf5": _open_hdf5}
