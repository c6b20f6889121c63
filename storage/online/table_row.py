"""One row of a view of a table as Feast's own materialization writes it to Redis, read without Feast."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # protobuf ships no types

from market.clock import MICROSECOND_NS, SECOND_NS
from market.errors import CorruptStore
from storage.online.feast_fields import feature_field
from transforms.table_feature import KNOWN_AT

_DOUBLE_TAG: Final = 0x29
_INT64_TAG: Final = 0x20


@dataclass(frozen=True, slots=True)
class TableRow:
    """The newest row: NaN is "not known"; ``absent`` are names that the online row does not have at all.

    known_ns: from when on it could be known, its event time where it does not say.
    """

    event_ns: int
    known_ns: int
    values: Mapping[str, float]
    absent: frozenset[str]


def table_fields(view: str, names: Sequence[str]) -> list[bytes]:
    """The fields of a symbol's hash that ``table_row`` takes, in order."""
    return [f"_ts:{view}".encode(), *(feature_field(view, name) for name in (KNOWN_AT, *names))]


def table_row(held: Sequence[bytes | None], names: Sequence[str]) -> TableRow | None:
    """What the fields hold; None when the view was never materialized for the symbol. Raises CorruptStore."""
    written, known, *values = held
    if written is None:
        return None
    event_ns = stored_time_ns(written)
    known_us = _int64(known) if known else None
    return TableRow(
        event_ns,
        event_ns if known_us is None else max(event_ns, known_us * MICROSECOND_NS),
        {name: _double(value) for name, value in zip(names, values, strict=True) if value is not None},
        frozenset(name for name, value in zip(names, values, strict=True) if value is None),
    )


def stored_time_ns(written: bytes) -> int:
    """What the field of a view's row time holds."""
    time = Timestamp()
    time.ParseFromString(written)
    return int(time.seconds) * SECOND_NS + int(time.nanos)


def _double(value: bytes) -> float:
    """The double of a ValueProto; an empty one is null."""
    if not value:
        return math.nan
    if len(value) != 9 or value[0] != _DOUBLE_TAG:
        raise CorruptStore(f"online row: must hold a double, was {value!r}")
    return float(struct.unpack_from("<d", value, 1)[0])


def _int64(value: bytes) -> int:
    """The int64 of a ValueProto: seven bits a byte, the lowest first."""
    if value[0] != _INT64_TAG:
        raise CorruptStore(f"online row: must hold an int64, was {value!r}")
    number = 0
    for at, byte in enumerate(value[1:]):
        number |= (byte & 0x7F) << (7 * at)
    return number
