"""Parquet files: one that is being written and not seen yet, one that is read, and what damage to one is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from market.errors import CorruptStore, StoreUnavailable
from storage.durable_files import changing_files, open_staged
from storage.group_sync import GroupSync
from storage.objects.path import ObjectPath
from storage.places import Place


class StagedParquet:
    """The coming content of ``path`` in a staged file, a table at a time; nothing is there before the first.

    sync: what is written is on disk once that is settled; None is when ``finish`` returns.

    Every method but ``discard`` raises StoreUnavailable when the disk refuses.
    """

    def __init__(self, path: Place, *, sync: GroupSync | None = None) -> None:
        self._path = path
        self._sync = sync
        self._staged: Path | None = None
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def open(self, schema: pa.Schema, **layout: Any) -> None:  # noqa: ANN401  # pyarrow's options
        """Begin the file. layout: as ``pyarrow.parquet.ParquetWriter`` takes it."""
        with changing_files(self._path):
            self._staged, self._file = open_staged(self._path, sync=None if self._sync is None else self._sync.folder)
            self._writer = pq.ParquetWriter(self._file, schema, **layout)

    def write(self, table: pa.Table, *, row_group_rows: int) -> None:
        assert self._writer is not None, "the file is begun"
        with changing_files(self._path):
            self._writer.write_table(table, row_group_size=row_group_rows)

    def finish(self, metadata: dict[str, str] | None = None) -> Path:
        """Close the file; gives it under the name that it was staged by.

        metadata: added to that of the schema.
        """
        assert self._staged is not None, "a file has rows"
        assert self._file is not None
        assert self._writer is not None
        with changing_files(self._path):
            if metadata:
                self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            # Now, and not where something slow has just been freed: Ctrl-C meanwhile would be lost in its ``__del__``.
            self._writer = None
            self._file.flush()
            if self._sync is None:
                os.fsync(self._file.fileno())
            else:
                self._sync.written(self._staged, self._file)
            self._file.close()
        return self._staged

    def discard(self) -> None:
        """Remove what was not published."""
        # What the disk refuses here too has been told by what led here.
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self._staged is not None:
            with suppress(OSError):
                self._staged.unlink(missing_ok=True)


@contextmanager
def opened_parquet(path: Place, *, is_checked: bool = True) -> Iterator[pq.ParquetFile]:
    """A file to read, by ranges from an object store; is_checked: every page against its checksum.

    Raises CorruptStore naming the file, StoreUnavailable when an object store does not answer.
    """
    with reading_parquet(path):
        if isinstance(path, ObjectPath):
            source: Any = path.open_ranges()
            with source, pq.ParquetFile(source, page_checksum_verification=is_checked, pre_buffer=True) as file:
                yield file
        else:
            with pq.ParquetFile(path, page_checksum_verification=is_checked) as file:
                yield file


@contextmanager
def reading_parquet(path: Place) -> Iterator[None]:
    """What pyarrow cannot read becomes CorruptStore naming the file, or StoreUnavailable."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        check_answered(path, error)
        raise CorruptStore(f"{path}: must be whole Parquet, was {error}") from error


def check_answered(path: Place, error: BaseException) -> None:
    """Raises StoreUnavailable where a file is whole in its object store, and pyarrow could not read it all the same.

    What Arrow says does not tell damage from a connection that was lost. The bytes do.
    """
    if isinstance(path, ObjectPath) and path.is_intact():
        raise StoreUnavailable(f"{path}: no whole answer: {error}") from error
