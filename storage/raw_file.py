"""Raw files: one Parquet file of a raw table, encoded as measured, read back before anybody is told of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from market.errors import CorruptStore, StoreUnavailable
from market.events import Events
from storage.durable_files import changing_files, file_sha256, make_folder, open_staged
from storage.raw_manifest import RawFile

# None is ever null: that takes a fifth off the decoding.
SCHEMA: Final = pa.schema(
    [
        pa.field(name, pa.int8() if name in {"field", "flags"} else pa.int64(), nullable=False)
        for name in ("seq", "recv_ns", "event_ns", "update_id", "px", "qty", "field", "flags")
    ]
)
_OF_THE_MESSAGE: Final = ("seq", "recv_ns", "event_ns", "update_id")
_LONG_MESSAGE_RECORDS: Final = 8
"""From so many records a message on, what they share is a run that a dictionary holds once."""
ROW_GROUP_ROWS: Final = 1 << 18


class PartFile:
    """One Parquet file of a part, under a dot name until it is published."""

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        self._path = path
        self._metadata = metadata
        self._held: list[Events] = []
        self._held_rows = self._rows = 0
        self._checksum = 0
        try:
            make_folder(path.parent)
            self.staged, self._file = open_staged(path)
        except OSError as error:
            raise StoreUnavailable(f"{path}: must be writable, was {error}") from error
        self._writer: pq.ParquetWriter | None = None

    def append(self, records: Events) -> None:
        self._held.append(records)
        self._held_rows += len(records)
        if self._held_rows >= ROW_GROUP_ROWS:
            self._write_group()

    def finish(self, root: Path, table: str) -> RawFile:
        """Close the file, wait for the disk, read it back; what the manifest says of it."""
        if self._held:
            self._write_group()
        with changing_files(self._path):
            if self._writer is not None:
                self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        with reading_parquet(self.staged), pq.ParquetFile(self.staged, page_checksum_verification=True) as file:
            rows = checksum = 0
            for group in range(file.metadata.num_row_groups):
                read = file.read_row_group(group)
                rows += read.num_rows
                checksum = _checksum([read.column(name).to_numpy() for name in SCHEMA.names], checksum)
        if (rows, checksum) != (self._rows, self._checksum):
            raise CorruptStore(f"{self._path}: must be read back as written, {self._rows} records, was {rows} others")
        digest = file_sha256(self.staged)
        final = self._path.with_name(f"{self._path.stem}-{digest[:8]}.parquet")
        return RawFile(
            table=table,
            path=final.relative_to(root).as_posix(),
            records=rows,
            size=self.staged.stat().st_size,
            sha256=digest,
        )

    def discard(self) -> None:
        """Remove what was not published."""
        # What the disk refuses here too has been told by what led here.
        if not self._file.closed:
            if self._writer is not None:
                with suppress(OSError):
                    self._writer.close()
            with suppress(OSError):
                self._file.close()
        with suppress(OSError):
            self.staged.unlink(missing_ok=True)

    def _write_group(self) -> None:
        records = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        self._held, self._held_rows = [], 0
        columns = [np.ascontiguousarray(records[name]) for name in SCHEMA.names]
        if self._writer is None:
            self._writer = _parquet_writer(self._file, self._metadata, columns[0])
        with changing_files(self._path):
            self._writer.write_table(
                pa.table([pa.array(column) for column in columns], schema=SCHEMA), row_group_size=ROW_GROUP_ROWS
            )
        for start in range(0, len(records), ROW_GROUP_ROWS):
            self._checksum = _checksum([column[start : start + ROW_GROUP_ROWS] for column in columns], self._checksum)
        self._rows += len(records)


def _parquet_writer(file: BinaryIO, metadata: dict[str, str], seq: npt.NDArray[np.generic]) -> pq.ParquetWriter:
    """A writer with the measured encodings: dictionaries for what repeats, differences for what rises.

    seq: of the first row group, which tells how long messages are.
    """
    messages = 1 + np.count_nonzero(seq[1:] != seq[:-1])
    in_runs = len(seq) >= messages * _LONG_MESSAGE_RECORDS
    rising = () if in_runs else _OF_THE_MESSAGE
    return pq.ParquetWriter(
        file,
        SCHEMA.with_metadata(metadata),
        # Of level rows LZ4 makes a fifth more bytes than zstd at its fastest level, and takes half the time to read.
        compression="lz4",
        use_dictionary=[name for name in SCHEMA.names if name not in rising],  # type: ignore[arg-type]  # the stubs know only bool, pyarrow takes names
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        write_statistics=["seq", "recv_ns"],
        write_page_checksum=True,
    )


def _checksum(columns: Sequence[npt.NDArray[np.generic]], before: int) -> int:
    for column in columns:
        before = crc32(np.ascontiguousarray(column).data, before)
    return before


@contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """What pyarrow cannot read becomes CorruptStore naming the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorruptStore(f"{path}: must be whole Parquet, was {error}") from error
