"""Raw files: one Parquet file of a raw table, encoded as measured, read back before the manifest names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal.isal_zlib import crc32

from market.errors import CorruptStore
from market.events import Events
from storage.durable_files import file_sha256
from storage.parquet_files import StagedParquet, opened_parquet
from storage.places import Place
from storage.raw.manifest import RawFile
from transforms.jit import for_compiled, jit_alone

# None is ever null: that takes a fifth off the decoding.
SCHEMA: Final = pa.schema(
    [
        pa.field(name, pa.int8() if name in {"field", "flags"} else pa.int64(), nullable=False)
        for name in ("seq", "recv_ns", "event_ns", "update_id", "px", "qty", "field", "flags")
    ]
)
_OF_THE_MESSAGE: Final = ("seq", "recv_ns", "event_ns", "update_id")
_LONG_MESSAGE_RECORDS: Final = 8
"""From so many records a message on, what they share is a run that needs no encoding."""
ROW_GROUP_ROWS: Final = 1 << 18


class PartFile:
    """One Parquet file of a part, staged until it is published."""

    def __init__(self, path: Place, metadata: dict[str, str]) -> None:
        self._path = path
        self._metadata = metadata
        self._parquet = StagedParquet(path)
        # What is not written of them is no memory.
        self._columns = {field.name: np.empty(ROW_GROUP_ROWS, field.type.to_pandas_dtype()) for field in SCHEMA}
        self._held = self._rows = self._checksum = 0

    def append(self, records: Events) -> None:
        """Take records; they are copied."""
        begin = 0
        while begin < len(records):
            end = min(len(records), begin + ROW_GROUP_ROWS - self._held)
            held = self._held + end - begin
            # While the records are in the processor's cache: later it takes six times as long.
            some = for_compiled(_copy_columns, records[begin:end])
            _copy_columns(some, tuple(column[self._held : held] for column in self._columns.values()))
            begin, self._held = end, held
            if held == ROW_GROUP_ROWS:
                self._write_group()

    def finish(self, root: Place, table: str) -> tuple[Path, RawFile]:
        """Close the file, wait for the disk, read it back; its staged name, and what the manifest says of it."""
        if self._held:
            self._write_group()
        staged = self._parquet.finish()
        with opened_parquet(staged) as file:
            rows = checksum = 0
            for group in range(file.metadata.num_row_groups):
                read = file.read_row_group(group, use_threads=False)
                rows += read.num_rows
                checksum = _checksum([read.column(name).to_numpy() for name in SCHEMA.names], checksum)
        if (rows, checksum) != (self._rows, self._checksum):
            raise CorruptStore(f"{self._path}: must be read back as written, {self._rows} records, was {rows} others")
        digest = file_sha256(staged)
        final = self._path.with_name(f"{self._path.stem}-{digest[:8]}.parquet")
        return staged, RawFile(
            table=table,
            path=final.relative_to(root).as_posix(),
            records=rows,
            size=staged.stat().st_size,
            sha256=digest,
        )

    def discard(self) -> None:
        """Remove what was not published."""
        self._parquet.discard()

    def _write_group(self) -> None:
        columns = [column[: self._held] for column in self._columns.values()]
        if not self._parquet.is_open:
            self._parquet.open(SCHEMA.with_metadata(self._metadata), **_layout(columns[0]))
        table = pa.table([pa.array(column) for column in columns], schema=SCHEMA)
        self._parquet.write(table, row_group_rows=ROW_GROUP_ROWS)
        self._checksum = _checksum(columns, self._checksum)
        self._rows += self._held
        self._held = 0


@jit_alone
def _copy_columns(records: Any, columns: Any) -> None:
    """Record by record: column by column each of them would be fetched eight times. columns: in the schema's order."""
    seq, recv_ns, event_ns, update_id, px, qty, field, flags = columns
    for at in range(len(records)):
        record = records[at]
        seq[at] = record.seq
        recv_ns[at] = record.recv_ns
        event_ns[at] = record.event_ns
        update_id[at] = record.update_id
        px[at] = record.px
        qty[at] = record.qty
        field[at] = record.field
        flags[at] = record["flags"]


def _layout(seq: npt.NDArray[np.generic]) -> dict[str, Any]:
    """The measured encodings: dictionaries for what repeats, differences for what rises.

    seq: of the first row group, which shows how long messages are.
    """
    messages = 1 + np.count_nonzero(seq[1:] != seq[:-1])
    is_long = len(seq) >= messages * _LONG_MESSAGE_RECORDS
    return {
        # Of level rows LZ4 makes a fifth more bytes than zstd at its fastest level, and takes half the time to read.
        "compression": "lz4",
        # What the records of a long message share LZ4 alone makes small: to look each of them up takes three times as
        # long as to copy it. So it is of the side and the marks.
        "use_dictionary": ["px", "qty"],
        "column_encoding": {} if is_long else dict.fromkeys(_OF_THE_MESSAGE, "DELTA_BINARY_PACKED"),
        "write_statistics": ["seq", "recv_ns"],
        "write_page_checksum": True,
    }


def _checksum(columns: Sequence[npt.NDArray[np.generic]], before: int) -> int:
    for column in columns:
        before = crc32(np.ascontiguousarray(column).data, before)
    return before
