"""The fields of a symbol's hash that Feast reads, packed as one argument of the write script.

The script takes a msgpack array of field, value, field, value, ... and unpacks it in Redis: as arguments of their own
the fields cost the client ten times as much. Redis' msgpack knows strings alone, not the binary type.

Rows that know the same features differ in their times and doubles alone: the rest of their bytes is made once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import mmh3
import numpy as np
import numpy.typing as npt
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # protobuf ships no types

from market.clock import SECOND_NS

if TYPE_CHECKING:  # a reader needs no kernel, whose compiler takes seconds to import
    from transforms.rows import FeatureGroup

_DOUBLE_TAG: Final = 0x29
_FLOAT64: Final = np.dtype("<f8")
_FIELD_BYTES: Final = 4
_VALUE_BYTES: Final = 9
_STRING: Final = 0xA0
"""msgpack's head of a string, to which its length is added, below 32 bytes."""
_LENGTH_AT: Final = 1 + _FIELD_BYTES
_VALUE_AT: Final = _LENGTH_AT + 1
MOST_TEMPLATES: Final = 512
"""Of some kilobytes each; a market in which all symbols are warm has a few."""


@dataclass(frozen=True, slots=True)
class _Template:
    """What is the same of rows that know the same features.

    at: where the known values are in a row. lines: (known, bytes), whose doubles are to be written. nulls: the lines of
    the others.
    """

    at: npt.NDArray[np.intp]
    lines: npt.NDArray[np.uint8]
    nulls: bytes


class FeastFields:
    """Packs rows of one feature set.

    groups: the set's; a group is a view of Feast.
    """

    def __init__(self, groups: Sequence[FeatureGroup]) -> None:
        fields = [feature_field(group.name, column) for group in groups for column in group.columns]
        self._at = np.array([at for group in groups for at in group.indices], np.intp)
        # One line a feature: head and bytes of the field, head, tag and double of the value.
        self._lines = np.empty((len(fields), _VALUE_AT + _VALUE_BYTES), np.uint8)
        self._lines[:, 0] = _STRING + _FIELD_BYTES
        self._lines[:, 1:_LENGTH_AT] = np.frombuffer(b"".join(fields), np.uint8).reshape(-1, _FIELD_BYTES)
        self._lines[:, _LENGTH_AT] = _STRING + _VALUE_BYTES
        self._lines[:, _VALUE_AT] = _DOUBLE_TAG
        self._timestamps = [_packed_string(f"_ts:{group.name}".encode()) for group in groups]
        self.names: Final = frozenset((*fields, *(f"_ts:{group.name}".encode() for group in groups)))
        """Every field that a row has."""
        self._head = b"\xdd" + struct.pack(">I", 2 * (len(fields) + len(groups)))
        self._templates: dict[bytes, _Template] = {}
        self._stamped: tuple[int, bytes] | None = None

    def pack(self, row_ns: int, values: npt.NDArray[np.float64]) -> bytes:
        """The fields of a row.

        values: float64 (columns of the set); NaN is written as Feast writes null, an empty value.
        """
        is_null = np.isnan(values)
        template = self._templates.get(pattern := is_null.tobytes()) or self._keep_template(pattern, is_null)
        lines = template.lines.copy()
        known = values[template.at].astype(_FLOAT64, copy=False)
        lines[:, _VALUE_AT + 1 :] = known.view(np.uint8).reshape(len(known), _FLOAT64.itemsize)
        return b"".join((self._head, self._stamps(row_ns), lines.tobytes(), template.nulls))

    def _stamps(self, row_ns: int) -> bytes:
        """The fields of the row time: rows that are written together are of one time."""
        stamped = self._stamped
        if stamped is None or stamped[0] != row_ns:
            value = _packed_string(timestamp_field(row_ns))
            stamped = self._stamped = row_ns, b"".join(field + value for field in self._timestamps)
        return stamped[1]

    def _keep_template(self, pattern: bytes, is_null: npt.NDArray[np.bool_]) -> _Template:
        if len(self._templates) >= MOST_TEMPLATES:
            self._templates.clear()
        is_null = is_null[self._at]
        nulls = self._lines[is_null, :_VALUE_AT]
        nulls[:, _LENGTH_AT] = _STRING
        template = _Template(self._at[~is_null], self._lines[~is_null], nulls.tobytes())
        self._templates[pattern] = template
        return template


def timestamp_field(row_ns: int) -> bytes:
    """What the field of a view's row time holds."""
    written: bytes = Timestamp(seconds=row_ns // SECOND_NS, nanos=row_ns % SECOND_NS).SerializeToString()
    return written


def feature_field(view: str, feature: str) -> bytes:
    """The field of a symbol's hash in which Feast looks for a feature."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def _packed_string(text: bytes) -> bytes:
    """Msgpack's string of any length."""
    if len(text) < 32:
        return bytes((_STRING + len(text),)) + text
    return b"\xdb" + struct.pack(">I", len(text)) + text
