"""The files of a dataset: one a split, written piece by piece as Parquet or CSV.

The same rows in the same pieces give the same bytes. Unknown is NaN in Parquet and an empty field in CSV, whose types
are in a schema next to the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from market.errors import CorruptStore, InvalidRequest
from storage.durable_files import changing_files
from storage.objects.path import ObjectPath
from storage.parquet_files import check_answered, opened_parquet
from storage.places import Place
from training_sets.request.request import OutputFormat

SUFFIX: Final[Mapping[OutputFormat, str]] = {"parquet": ".parquet", "csv": ".csv"}
SCHEMA_NAME: Final = "_schema.json"
PATH: Final = "path"
"""Which backtest over all test groups a row is of; null in a train split."""
_PIECE_ROWS: Final = 20_000
_CSV_TYPES: Final = {
    "string": {"type": "string", "dtype": "str"},
    "timestamp[ns, tz=UTC]": {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S.%fZ", "dtype": "datetime64[ns, UTC]"},
    "double": {"type": "number", "dtype": "float64"},
    "int32": {"type": "integer", "dtype": "int32"},
}


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
        """Append rows; the table has the schema's columns. Raises StoreUnavailable when the disk refuses."""
        with changing_files(self.path):
            if self._write is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write, self._close = _OPEN[self._format](self._unfinished, self._schema)
            self._write(table)

    def finish(self) -> None:
        """Close the file, an empty one if nothing was written, and give it its name; raises StoreUnavailable."""
        if self._write is None:
            self.write(self._schema.empty_table())
        with changing_files(self.path):
            self.close()
            self._unfinished.replace(self.path)

    def remove(self) -> None:
        """Close and take away what was written; the folder too, once nothing else is in it."""
        with suppress(OSError):  # a disk that is full takes no footer either
            self.close()
        self._unfinished.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def close(self) -> None:
        """Close without finishing; closing again does nothing."""
        close, self._close = self._close, None
        if close is not None:
            close()


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a table of ours that comes in batches to Parquet or CSV, by the file's suffix; gives its rows.

    The file has its name once it is whole. Raises InvalidRequest for another suffix, StoreUnavailable when the disk
    refuses.
    """
    formats = {suffix: name for name, suffix in SUFFIX.items()}
    if path.suffix not in formats:
        raise InvalidRequest(f"file: must end in {' or '.join(formats)}, was {path.name!r}")
    file = SplitFile(path, schema, formats[path.suffix])
    rows = 0
    try:
        for batch in batches:
            file.write(pa.Table.from_batches([batch]))
            rows += batch.num_rows
        file.finish()
    except BaseException:
        file.remove()
        raise
    return rows


def read_columns(path: Place, columns: Sequence[str], output_format: OutputFormat) -> npt.NDArray[np.float64]:
    """Some of a file's float64 columns, float64 (rows, columns). Raises CorruptStore, StoreUnavailable."""
    values: list[npt.NDArray[np.float64]]
    try:
        match output_format:
            case "parquet":
                with opened_parquet(path) as file:
                    table = file.read(list(columns))
                    stated = file.metadata.num_rows
                # A page's header has no checksum: a damaged one reads as fewer rows.
                if any(table.column(name).length() != stated for name in columns):
                    raise CorruptStore(f"{path}: must be whole Parquet with {stated} rows, was another number of them")
                values = [table.column(name).to_numpy() for name in columns]
            case _:
                kinds = dict.fromkeys(columns, pa.float64())
                options = pacsv.ConvertOptions(include_columns=list(columns), column_types=kinds)
                with _opened(path) as source:
                    table = pacsv.read_csv(source, convert_options=options)
                values = [table.column(name).to_numpy() for name in columns]
    except (OSError, KeyError, pa.ArrowException, UnicodeDecodeError) as error:
        check_answered(path, error)
        raise CorruptStore(f"{path}: must be a file of the dataset with {', '.join(columns)}, was {error}") from error
    return np.stack(values, axis=1)


@dataclass(frozen=True, slots=True)
class FilePiece:
    """Consecutive rows of a file: row times int64 (n,), each chosen column float64 (n,).

    symbols: those that the rows are of. symbol: of each row, its number among them, int (n,).
    """

    symbols: Sequence[str]
    symbol: npt.NDArray[np.integer[Any]]
    times_ns: npt.NDArray[np.int64]
    columns: Sequence[npt.NDArray[np.float64]]

    def row(self, at: int) -> npt.NDArray[np.float64]:
        """The values of one row, float64 (columns,)."""
        return np.array([column[at] for column in self.columns], np.float64)


def read_pieces(path: Place, columns: Sequence[str], output_format: OutputFormat) -> Iterator[FilePiece]:
    """A file as its readers get it, a bounded number of rows at a time. Raises CorruptStore, StoreUnavailable."""
    names = ["symbol", "timestamp", *columns]
    try:
        match output_format:
            case "parquet":
                with opened_parquet(path) as file:
                    for batch in file.iter_batches(_PIECE_ROWS, columns=names):
                        times_ns = batch.column("timestamp").cast(pa.int64()).to_numpy()
                        yield _piece(batch, times_ns, columns)
            case _:
                kinds = {"symbol": pa.string(), "timestamp": pa.string(), **dict.fromkeys(columns, pa.float64())}
                options = pacsv.ConvertOptions(include_columns=names, column_types=kinds)
                with _opened(path) as source, pacsv.open_csv(source, convert_options=options) as reader:
                    for batch in reader:
                        text = pc.utf8_rtrim(batch.column("timestamp"), "Z").to_numpy(zero_copy_only=False)
                        yield _piece(batch, text.astype("datetime64[ns]").view(np.int64), columns)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        check_answered(path, error)
        raise CorruptStore(f"{path}: must be a file of the dataset, was {error}") from error


def _opened(path: Place) -> Any:  # noqa: ANN401  # pyarrow's CSV reader is not typed for its own files
    return path.open_ranges() if isinstance(path, ObjectPath) else path.open("rb")


def _piece(batch: pa.RecordBatch, times_ns: npt.NDArray[np.int64], columns: Sequence[str]) -> FilePiece:
    symbols: Any = batch.column("symbol").dictionary_encode()
    values = [batch.column(name).to_numpy(zero_copy_only=False) for name in columns]
    return FilePiece(symbols.dictionary.to_pylist(), symbols.indices.to_numpy(), times_ns, values)


def fold_name(number: int) -> str:
    """The folder of a fold; not ``fold=000``: readers who take a column from that find it in the rows as well."""
    return f"fold-{number:03d}"


def write_schema(path: Path, schema: pa.Schema) -> None:
    """The types of the columns of CSV files, as a Table Schema; ``dtype`` is what pandas and numpy call each."""
    fields = [{"name": field.name, **_CSV_TYPES[str(field.type)]} for field in schema]
    path.write_text(json.dumps({"fields": fields, "missingValues": [""]}, indent=2) + "\n")


def barrier_columns(name: str) -> tuple[str, str]:
    """The two more columns of the triple-barrier target of this name: when a barrier was met, and which."""
    return f"{name}_t1", f"{name}_barrier"


def table_schema(
    columns: Sequence[str],
    *,
    has_fold: bool,
    metadata: Mapping[str, str],
    barriers: Sequence[str] = (),
    numbers: Sequence[str] = (),
    has_path: bool = False,
) -> pa.Schema:
    """symbol, timestamp (UTC), the float64 columns, fold (int32) where there are folds, and path where there are paths.

    barriers: names of triple-barrier targets, whose ``barrier_columns``, UTC and text, are before the fold. numbers:
    inputs and weights, float64, after those.
    """
    fields: list[tuple[str, pa.DataType]] = [("symbol", pa.string()), ("timestamp", pa.timestamp("ns", "UTC"))]
    fields += [(name, pa.float64()) for name in columns]
    for name in barriers:
        fields += zip(barrier_columns(name), (pa.timestamp("ns", "UTC"), pa.string()), strict=True)
    fields += [(name, pa.float64()) for name in numbers]
    if has_fold:
        fields.append(("fold", pa.int32()))
    if has_path:
        fields.append((PATH, pa.int32()))
    return pa.schema(fields, metadata=dict[bytes | str, bytes | str](metadata.items()))


def _open_parquet(path: Path, schema: pa.Schema) -> tuple[Callable[[pa.Table], None], Callable[[], None]]:
    # A dictionary of numbers that are all different is made and thrown away; zstd packs those that are few as well.
    texts: Any = [field.name for field in schema if pa.types.is_string(field.type)]
    # Nobody skips row groups by a feature's least and greatest value, which take a quarter of the writing.
    keys: Any = [field.name for field in schema if not pa.types.is_floating(field.type)]
    writer = pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        use_dictionary=texts,
        write_statistics=keys,
    )
    return writer.write_table, writer.close


def _open_csv(path: Path, schema: pa.Schema) -> tuple[Callable[[pa.Table], None], Callable[[], None]]:
    def as_text(table: pa.Table) -> pa.Table:
        # Samples at times may lie between seconds; polars would read a column that holds "nan" as text.
        columns: list[Any] = []
        for field in table.schema:
            column: Any = table.column(field.name)
            if pa.types.is_timestamp(field.type):
                column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")  # all nine digits
            elif pa.types.is_floating(field.type):
                column = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
            columns.append(column)
        return pa.table(columns, names=table.schema.names)

    writer = pacsv.CSVWriter(path, as_text(schema.empty_table()).schema)
    return lambda table: writer.write(as_text(table)), writer.close


_OPEN: Final[
    Mapping[OutputFormat, Callable[[Path, pa.Schema], tuple[Callable[[pa.Table], None], Callable[[], None]]]]
] = {"parquet": _open_parquet, "csv": _open_csv}
