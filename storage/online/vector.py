"""One row of one symbol as Redis keeps it: Feast's fields and our packed vector.

The key and the fields that Feast reads have the bytes that Feast's own writer would give them; they are encoded here
without Feast, whose import takes seconds.

| part                             | bytes                                                               |
|----------------------------------|---------------------------------------------------------------------|
| key                              | entity key of ``symbol``, serialization version 3, then the project |
| field hash of "<view>:<feature>" | ValueProto: 0x29 and a little-endian double; empty for NaN          |
| field ``_ts:<view>``             | protobuf Timestamp of the row time                                  |
| field ``feature_service:vector`` | the packed vector (``_PackedVector``)                               |
| field ``feature_service:newest`` | row time and available time as sortable decimal text                |
| field ``feature_service:fence``  | fence of the lease it was written under, likewise; absent without   |

The hash is murmur3, 32 bits, little-endian. ``storage.online.feast_fields`` makes the fields that Feast reads.
Our names are longer than Feast's hashes and do not start as its timestamps do, so they cannot collide with either.
The packed vector names its own columns: one field read in one call is all a reader needs, and a change of the feature
set cannot part the values from their names. The names are encoded once per set and copied into each row.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from market.errors import CorruptStore
from storage.online.feast_fields import FeastFields, feature_field

if TYPE_CHECKING:  # a reader needs no kernel, whose compiler takes seconds to import
    from transforms.rows import FeatureSet

VECTOR_FIELD: Final = b"feature_service:vector"
NEWEST_FIELD: Final = b"feature_service:newest"
FENCE_FIELD: Final = b"feature_service:fence"
CHANNEL_PREFIX: Final = b"feature_service:rows:"

_JOIN_KEY: Final = b"symbol"
_NO_ENTITY: Final = b"__dummy_id"
_FEAST_STRING: Final = 2
_FLOAT64: Final = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """One row of one symbol on its way to Redis.

    values: float64 (columns of the set); NaN is "not known".
    status: int8 (groups of the set); values of ``transforms.status``.
    reasons: why, for each column that is NaN.
    """

    symbol: str
    feature_set: FeatureSet
    row_ns: int
    available_ns: int
    values: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OnlineVector:
    """The newest row of one symbol as it was written, all columns at once.

    values: float64 (columns), read-only; NaN is "not known", and ``missing`` says why.
    statuses: value of ``transforms.status`` by group name.
    """

    symbol: str
    row_ns: int
    available_ns: int
    version: str
    fingerprint: str
    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]
    statuses: Mapping[str, int]
    missing: Mapping[str, str]

    @property
    def known_ns(self) -> int:
        """From when on a model could know the values: never before the row time, whatever clock stamped them."""
        return max(self.row_ns, self.available_ns)

    def age_ns(self, now_ns: int) -> int:
        """From the row time to now; 0 where the writer's clock is ahead of the reader's."""
        return max(0, now_ns - self.row_ns)


def vector_of(row: OnlineRow) -> OnlineVector:
    """What a reader gets once the row is stored."""
    names = [group.name for group in row.feature_set.groups]
    return OnlineVector(
        row.symbol,
        row.row_ns,
        row.available_ns,
        row.feature_set.version,
        row.feature_set.fingerprint,
        row.feature_set.columns,
        row.values,
        dict(zip(names, row.status.tolist(), strict=True)),
        row.reasons,
    )


def online_key(symbol: str, project: bytes) -> bytes:
    """Key of a symbol's hash, as Feast serialises it."""
    return _feast_key(_JOIN_KEY, symbol.encode(), project)


def shared_key(project: bytes) -> bytes:
    """Key of the hash of what is the same for every symbol: Feast's entity of views without one."""
    return _feast_key(_NO_ENTITY, b"", project)


def _feast_key(join_key: bytes, value: bytes, project: bytes) -> bytes:
    return b"".join(
        (
            struct.pack("<III", 1, _FEAST_STRING, len(join_key)),
            join_key,
            struct.pack("<II", _FEAST_STRING, len(value)),
            value,
            project,
        )
    )


def online_channel(key: bytes) -> bytes:
    """The channel on which each stored vector of a symbol's hash is published."""
    return CHANNEL_PREFIX + key


def symbol_of(key: bytes, project: bytes) -> str | None:
    """The symbol of a key of ``project``; None for any other key."""
    head = len(online_key("", b""))
    name = key[head : len(key) - len(project)]
    try:
        symbol = name.decode()
    except UnicodeDecodeError:
        return None
    return symbol if key == online_key(symbol, project) else None


def sortable_order(row: OnlineRow) -> str:
    """Text whose order is that of ``(row_ns, available_ns)``: the greater row wins."""
    return sortable(row.row_ns) + sortable(row.available_ns)


class _Names(msgspec.Struct, array_like=True, frozen=True):
    """What the rows of one feature set have in common."""

    version: str
    fingerprint: str
    columns: tuple[str, ...]
    groups: tuple[str, ...]


class _PackedVector(msgspec.Struct, array_like=True, frozen=True):
    """The vector field: a msgpack array in this order; ``names`` is an embedded ``_Names`` array.

    values: little-endian float64, one a column. status: int8, one a group.
    """

    layout: Literal[1]
    symbol: str
    row_ns: int
    available_ns: int
    names: msgspec.Raw
    values: bytes
    status: bytes
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """The part of every write that depends on the feature set alone."""

    feature_set: FeatureSet
    feast: FeastFields
    packed_names: msgspec.Raw


_ENCODER: Final = msgspec.msgpack.Encoder()
_VECTOR_DECODER: Final = msgspec.msgpack.Decoder(_PackedVector)
_NAMES_DECODER: Final = msgspec.msgpack.Decoder(_Names)


def layout_of(feature_set: FeatureSet) -> Layout:
    groups = feature_set.groups
    names = _Names(
        feature_set.version,
        feature_set.fingerprint,
        feature_set.columns,
        tuple(group.name for group in groups),
    )
    return Layout(feature_set, FeastFields(groups), msgspec.Raw(_ENCODER.encode(names)))


def fields_gone(held: OnlineVector, layout: Layout) -> tuple[bytes, ...]:
    """The fields that a stored vector came with and a set's rows do not have.

    A vector does not say which of its groups a column is of, so that a field for each is named; most were never there.
    """
    if held.fingerprint == layout.feature_set.fingerprint:
        return ()
    named = [f"_ts:{group}".encode() for group in held.statuses]
    named += [feature_field(group, column) for group in held.statuses for column in held.columns]
    return tuple(field for field in dict.fromkeys(named) if field not in layout.feast.names)


def sortable(number: int) -> str:
    """Text of fixed width whose order is the order of the int64."""
    return f"{number + 2**63:020d}"


def pack(row: OnlineRow, names: msgspec.Raw) -> bytes:
    """The bytes of the vector field."""
    return _ENCODER.encode(
        _PackedVector(
            1,
            row.symbol,
            row.row_ns,
            row.available_ns,
            names,
            row.values.astype(_FLOAT64, copy=False).tobytes(),
            row.status.tobytes(),
            row.reasons,
        )
    )


def unpack(packed: bytes, *, symbol: str) -> OnlineVector:
    try:
        vector = _VECTOR_DECODER.decode(packed)
        names = _decode_names(bytes(vector.names))
    except msgspec.DecodeError as error:
        raise CorruptStore(f"online vector of {symbol}: must be a packed vector, was not: {error}") from error
    if len(vector.values) != _FLOAT64.itemsize * len(names.columns) or len(vector.status) != len(names.groups):
        raise CorruptStore(
            f"online vector of {symbol}: must hold {len(names.columns)} values and {len(names.groups)} statuses, "
            f"was {len(vector.values)} and {len(vector.status)} bytes"
        )
    return OnlineVector(
        vector.symbol,
        vector.row_ns,
        vector.available_ns,
        names.version,
        names.fingerprint,
        names.columns,
        np.frombuffer(vector.values, _FLOAT64),
        dict(
            zip(
                names.groups,
                np.frombuffer(vector.status, np.int8).tolist(),
                strict=True,
            )
        ),
        vector.missing,
    )


@lru_cache(maxsize=32)
def _decode_names(packed: bytes) -> _Names:
    return _NAMES_DECODER.decode(packed)
