"""The columns of a result, filled as the row groups they come from are read."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.as_of_join import Int64Array
from feature_repo.parquet_source import Column


class GatheredColumn:
    """A column of ``count`` values of one type that are put in any order; what is not put is null.

    Threads may put at the same time: no place is put twice.
    """

    def __init__(self, kind: pa.DataType, count: int) -> None:
        self._kind = kind
        self._count = count
        self._is_null = np.zeros(count, np.bool_)
        # Numbers and times are put where they belong at once; the rest is put in order at the end.
        self._values: npt.NDArray[Any] | None = None
        self._pieces: list[tuple[Int64Array, pa.Array[Any]]] = []
        if pa.types.is_primitive(kind) and kind.bit_width in {8, 16, 32, 64}:
            self._values = np.zeros(count, f"u{kind.bit_width // 8}")

    def put(self, places: Int64Array, column: Column, positions: Int64Array) -> None:
        """Put the values that stand at ``positions`` of ``column`` in ``places``."""
        chunk: pa.Array[Any] = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)  # type: ignore[assignment]  # its stub also knows types of an extension
        if self._values is None:
            self._pieces.append((places, chunk.take(cast("pa.Int64Array", pa.array(positions)))))
            return
        if chunk.null_count:
            self._is_null[places] = chunk.is_null().to_numpy(zero_copy_only=False)[positions]
        data = chunk.buffers()[1]
        assert data is not None, "a column of fixed width has its values in the second buffer"
        held = np.frombuffer(memoryview(data), self._values.dtype)[chunk.offset : chunk.offset + len(chunk)]
        # Every position is one of the chunk: to clip them spares the check.
        self._values[places] = held.take(positions, mode="clip")

    def finish(self, is_found: npt.NDArray[np.bool_]) -> Column:
        """The whole column, null where nothing was put, that is where not ``is_found``."""
        if self._values is None:
            position = np.zeros(self._count, np.int64)
            if self._pieces:
                places = np.concatenate([places for places, _ in self._pieces])
                position[places] = np.arange(len(places))
            pieces = pa.chunked_array([piece for _, piece in self._pieces], cast("Any", self._kind))
            return pieces.take(cast("pa.Int64Array", pa.array(position, mask=~is_found)))
        is_valid = is_found & ~self._is_null
        bitmap = None if is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little").data)
        buffers = [bitmap, pa.py_buffer(self._values.data)]
        return pa.chunked_array([pa.Array.from_buffers(self._kind, self._count, buffers)])
