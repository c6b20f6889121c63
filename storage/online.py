"""The online store: the newest row of every symbol in Redis, readable by Feast's SDK and, packed, by ours.

A symbol is one hash, so that all its views change at once. Its key and the fields that Feast reads have the bytes that
Feast's own writer would give them; they are encoded here without Feast, whose import takes seconds.

| part                             | bytes                                                               |
|----------------------------------|---------------------------------------------------------------------|
| key                              | entity key of ``symbol``, serialization version 3, then the project |
| field hash of "<view>:<feature>" | ValueProto: 0x29 and a little-endian double; empty for NaN          |
| field ``_ts:<view>``             | protobuf Timestamp of the row time                                  |
| field ``feature_service:vector`` | the packed vector (``_PackedVector``)                               |
| field ``feature_service:newest`` | row time and available time as sortable decimal text                |

The hash is murmur3, 32 bits, little-endian.
Our two names are longer than Feast's hashes and do not start as its timestamps do, so they cannot collide with either.
The packed vector names its own columns: one field read in one call is all a reader needs, and a change of the feature
set cannot part the values from their names. The names are encoded once per set and copied into each row.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import isnan
from typing import Any, Final, Literal

import mmh3
import msgspec
import numpy as np
import numpy.typing as npt
import redis
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # protobuf ships no types
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from market.clock import SECOND_NS
from market.errors import CorruptStore, StoreUnavailable
from transforms.rows import FeatureSet

MAX_AHEAD_NS: Final = 5 * SECOND_NS
VECTOR_FIELD: Final = b"feature_service:vector"
NEWEST_FIELD: Final = b"feature_service:newest"

_JOIN_KEY: Final = b"symbol"
_FEAST_STRING: Final = 2
_DOUBLE: Final = struct.Struct("<Bd")
_DOUBLE_TAG: Final = 0x29
_NULL: Final = b""
_FLOAT64: Final = np.dtype("<f8")

# Lua's numbers are doubles and would round nanoseconds, hence the comparison of text; HSET is called in parts because
# unpack() stops at about 8000 values.
_WRITE_SCRIPT: Final = """
local newest = redis.call('HGET', KEYS[1], 'feature_service:newest')
if newest and newest > ARGV[1] then return 0 end
for first = 2, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return 1
"""
_WRITE_SHA: Final = hashlib.sha1(_WRITE_SCRIPT.encode(), usedforsecurity=False).hexdigest()


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


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of the rows of one ``write``: stored, older than what was stored, or too far in the future."""

    written: int
    superseded: int
    refused: int


class OnlineStore:
    """Writes and reads the newest row of each symbol; safe to share between threads."""

    def __init__(self, client: redis.Redis, *, project: str, max_ahead_ns: int = MAX_AHEAD_NS) -> None:
        """``client`` must leave answers as bytes; its timeouts and retries bound every call made here."""
        self._client = client
        self._project = project.encode()
        self._max_ahead_ns = max_ahead_ns
        self._layout: _Layout | None = None

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        *,
        project: str,
        db: int = 0,
        password: str | None = None,
        connect_timeout_s: float = 1.0,
        socket_timeout_s: float = 1.0,
        max_ahead_ns: int = MAX_AHEAD_NS,
    ) -> OnlineStore:
        """A store on its own connection pool; the first call opens the connection.

        A call that fails is repeated once, at once: that is enough for a connection that a server restart left stale,
        and a repeated write changes nothing.
        """
        client = redis.Redis(
            host=host,
            port=port,
            db=db,
            password=password,
            socket_connect_timeout=connect_timeout_s,
            socket_timeout=socket_timeout_s,
            retry=Retry(NoBackoff(), 1),
        )
        return cls(client, project=project, max_ahead_ns=max_ahead_ns)

    def write(self, rows: Sequence[OnlineRow], *, now_ns: int) -> WriteResult:
        """Store each row unless the symbol already holds a newer one; one round trip for all of them.

        Newer is the greater ``(row_ns, available_ns)``; of equal pairs the later writer wins. A row is stored whole or
        not at all, whoever else writes at the time. A row more than ``max_ahead_ns`` after ``now_ns`` is refused: it
        would keep every true row out until its time has come.

        Raises StoreUnavailable; rows of the call may have been stored, and writing them again is harmless.
        """
        accepted = [row for row in rows if row.row_ns <= now_ns + self._max_ahead_ns]
        written = sum(self._run_script([self._script_arguments(row) for row in accepted]))
        return WriteResult(written, len(accepted) - written, len(rows) - len(accepted))

    def read(self, symbols: Sequence[str]) -> list[OnlineVector | None]:
        """The newest vector of each symbol, in the order asked, None where there is none; one round trip.

        Raises StoreUnavailable, or CorruptStore when a stored vector is not what ``write`` stores.
        """
        with (
            self._naming_the_server(),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            for symbol in symbols:
                pipeline.hget(self._key(symbol), VECTOR_FIELD)  # type: ignore[arg-type]  # bytes are sent as they are
            packed: list[bytes | None] = pipeline.execute()
        return [
            None if vector is None else _unpack(vector, symbol=symbol)
            for symbol, vector in zip(symbols, packed, strict=True)
        ]

    def ping(self) -> None:
        """Raises StoreUnavailable when the server does not answer."""
        with self._naming_the_server():
            self._client.ping()

    def close(self) -> None:
        """Close the pooled connections."""
        self._client.close()

    def _key(self, symbol: str) -> bytes:
        name = symbol.encode()
        return b"".join(
            (
                struct.pack("<III", 1, _FEAST_STRING, len(_JOIN_KEY)),
                _JOIN_KEY,
                struct.pack("<II", _FEAST_STRING, len(name)),
                name,
                self._project,
            )
        )

    def _script_arguments(self, row: OnlineRow) -> tuple[bytes | str, ...]:
        layout = self._layout
        if layout is None or layout.feature_set is not row.feature_set:
            self._layout = layout = _layout_of(row.feature_set)
        timestamp = Timestamp(seconds=row.row_ns // SECOND_NS, nanos=row.row_ns % SECOND_NS).SerializeToString()
        protos = [_NULL if isnan(value) else _DOUBLE.pack(_DOUBLE_TAG, value) for value in row.values.tolist()]
        order = _sortable(row.row_ns) + _sortable(row.available_ns)
        return (
            self._key(row.symbol),
            order,
            NEWEST_FIELD,
            order,
            VECTOR_FIELD,
            _pack(row, layout.packed_names),
            *chain.from_iterable((field, timestamp) for field in layout.timestamp_fields),
            *chain.from_iterable((field, protos[index]) for field, index in layout.feature_fields),
        )

    def _run_script(self, calls: Sequence[tuple[bytes | str, ...]]) -> list[int]:
        with self._naming_the_server():
            answers = self._evaluate(calls)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                # A server forgets its scripts when it restarts or fails over.
                self._client.script_load(_WRITE_SCRIPT)
                unanswered = [
                    call for call, answer in zip(calls, answers, strict=True) if isinstance(answer, NoScriptError)
                ]
                answers = [answer for answer in answers if not isinstance(answer, NoScriptError)]
                answers += self._evaluate(unanswered)
            for answer in answers:
                if isinstance(answer, redis.RedisError):
                    raise answer
        return answers

    def _evaluate(self, calls: Sequence[tuple[bytes | str, ...]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(_WRITE_SHA, 1, *call)
            return pipeline.execute(raise_on_error=False)

    @contextmanager
    def _naming_the_server(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            address = self._client.connection_pool.connection_kwargs
            where = address["path"] if "path" in address else f"{address['host']}:{address['port']}"
            raise StoreUnavailable(f"redis {where}: must answer, was {error}") from error


def colliding_fields(views: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Every pair of ``view:feature`` that Feast would store in one field of a symbol's hash.

    views: feature names by view name. Of three names that collide, the first is paired with each of the others.
    """
    first: dict[bytes, str] = {}
    collisions = []
    for view, features in views.items():
        for feature in features:
            name = f"{view}:{feature}"
            earlier = first.setdefault(_feature_field(view, feature), name)
            if earlier != name:
                collisions.append((earlier, name))
    return collisions


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
    missing: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The part of every write that depends on the feature set alone."""

    feature_set: FeatureSet
    timestamp_fields: tuple[bytes, ...]
    feature_fields: tuple[tuple[bytes, int], ...]
    packed_names: msgspec.Raw


_ENCODER: Final = msgspec.msgpack.Encoder()
_VECTOR_DECODER: Final = msgspec.msgpack.Decoder(_PackedVector)
_NAMES_DECODER: Final = msgspec.msgpack.Decoder(_Names)


def _layout_of(feature_set: FeatureSet) -> _Layout:
    groups = feature_set.groups
    names = _Names(
        feature_set.version,
        feature_set.fingerprint,
        feature_set.columns,
        tuple(group.name for group in groups),
    )
    return _Layout(
        feature_set,
        tuple(f"_ts:{group.name}".encode() for group in groups),
        tuple(
            (_feature_field(group.name, column), index)
            for group in groups
            for column, index in zip(group.columns, group.indices, strict=True)
        ),
        msgspec.Raw(_ENCODER.encode(names)),
    )


def _feature_field(view: str, feature: str) -> bytes:
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def _sortable(time_ns: int) -> str:
    """Text of fixed width whose order is the order of the int64."""
    return f"{time_ns + 2**63:020d}"


def _pack(row: OnlineRow, names: msgspec.Raw) -> bytes:
    return _ENCODER.encode(
        _PackedVector(
            1,
            row.symbol,
            row.row_ns,
            row.available_ns,
            names,
            row.values.astype(_FLOAT64, copy=False).tobytes(),
            row.status.tobytes(),
            dict(row.reasons),
        )
    )


def _unpack(packed: bytes, *, symbol: str) -> OnlineVector:
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
