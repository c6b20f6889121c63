"""The online store: the newest row of every symbol in Redis, readable by Feast's SDK and, packed, by ours.

A symbol is one hash, so that all its views change at once; ``storage.online.vector`` says what it holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from market.clock import SECOND_NS
from market.errors import CorruptStore, StoreUnavailable
from storage.online.address import redis_address
from storage.online.feast_fields import feature_field
from storage.online.script_calls import CallAt, call_in_groups
from storage.online.scripts import FENCED, WRITE, Script, WriteResult
from storage.online.table_row import TableRow, table_fields, table_row
from storage.online.vector import (
    VECTOR_FIELD,
    Layout,
    OnlineRow,
    OnlineVector,
    fields_gone,
    layout_of,
    online_key,
    pack,
    shared_key,
    sortable,
    sortable_order,
    symbol_of,
    unpack,
)

if TYPE_CHECKING:  # a reader needs no kernel, whose compiler takes seconds to import
    from transforms.rows import FeatureSet

RedisClient: TypeAlias = redis.Redis | RedisCluster

MAX_AHEAD_NS: Final = 5 * SECOND_NS


class OnlineStore:
    """Writes and reads the newest row of each symbol; safe to share between threads."""

    def __init__(
        self, client: RedisClient | Callable[[], RedisClient], *, project: str, max_ahead_ns: int = MAX_AHEAD_NS
    ) -> None:
        """``client``, or what the first call opens it with, must leave answers as bytes and bounds every call here."""
        self._open: Callable[[], RedisClient]
        if isinstance(client, redis.Redis | RedisCluster):
            self._open = lambda: client
        else:
            self._open = client
        self._opened: RedisClient | None = None
        self._opening = threading.Lock()
        self._project = project.encode()
        self._max_ahead_ns = max_ahead_ns
        self._layout: Layout | None = None
        self._sets: dict[str, FeatureSet] = {}
        """Of each symbol the set that it has the fields of, and of no other."""

    @classmethod
    def connect(cls, settings: Mapping[str, Any], *, project: str, max_ahead_ns: int = MAX_AHEAD_NS) -> OnlineStore:
        """A store on the server, cluster or master that the ``online_store`` part of a feature_store.yaml names.

        The first call opens the connection, and asks a cluster or a sentinel who serves. A call that fails is repeated
        once, at once: that is enough for a connection that a server restart left stale, and a repeated write changes
        nothing.

        Raises InvalidRequest when it does not name a Redis as Feast would take it.
        """
        address = redis_address(settings)
        retry = Retry(NoBackoff(), 1)
        client: RedisClient | Callable[[], RedisClient]
        match address.kind:
            case "redis_cluster":
                nodes = [ClusterNode(host, port) for host, port in address.nodes]  # type: ignore[no-untyped-call]  # untyped in redis-py
                client = partial(RedisCluster, startup_nodes=nodes, retry=retry, **address.options)
            case "redis_sentinel":
                sentinel = Sentinel(address.nodes, retry=retry, **address.options)  # type: ignore[no-untyped-call]  # untyped in redis-py
                client = sentinel.master_for(address.master)  # type: ignore[no-untyped-call]  # untyped in redis-py
            case "redis":
                [(host, port)] = address.nodes
                client = redis.Redis(host=host, port=port, retry=retry, **address.options)
        return cls(client, project=project, max_ahead_ns=max_ahead_ns)

    def write(self, rows: Sequence[OnlineRow], *, now_ns: int, fences: Mapping[str, int] | None = None) -> WriteResult:
        """Store each row unless the symbol already holds a newer one; no row waits for the answer to the one before.

        Newer is the greater ``(row_ns, available_ns)``; of equal pairs the later writer wins. A row is stored whole or
        not at all, regardless of other writers; fields of another set are removed. A row more than
        ``max_ahead_ns`` after ``now_ns`` is refused: it would keep every true row out until its time has come.

        fences: of the writer's leases by symbol. Once a symbol was written with a fence, a lower one stores nothing; a
            writer without one is not checked.

        Raises StoreUnavailable; rows of the call may have been stored, and writing them again is harmless.
        """
        accepted = [row for row in rows if row.row_ns <= now_ns + self._max_ahead_ns]
        held = fences or {}
        gone = self._gone([row for row in accepted if self._sets.get(row.symbol) is not row.feature_set])

        def call_at(number: int) -> tuple[bytes | str, ...]:
            row = accepted[number]
            return self._script_arguments(row, held.get(row.symbol), gone.get(row.symbol, ()))

        answers = self._run(WRITE, call_at, len(accepted))
        self._sets.update(
            (row.symbol, row.feature_set) for row, answer in zip(accepted, answers, strict=True) if answer == 1
        )
        written = sum(answer == 1 for answer in answers)
        fenced = tuple(row.symbol for row, answer in zip(accepted, answers, strict=True) if answer == FENCED)
        superseded = len(accepted) - written - len(fenced)
        return WriteResult(written, superseded, len(rows) - len(accepted), fenced)

    def read(self, symbols: Sequence[str]) -> list[OnlineVector | None]:
        """The newest vector of each symbol, in the order asked, None where there is none; one round trip.

        Raises StoreUnavailable, or CorruptStore when a stored vector is not what ``write`` stores.
        """
        with (
            self._naming_the_server(),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            for symbol in symbols:
                pipeline.hget(online_key(symbol, self._project), VECTOR_FIELD)  # type: ignore[arg-type]  # bytes are sent as they are
            packed: list[bytes | None] = pipeline.execute()
        return [
            None if vector is None else unpack(vector, symbol=symbol)
            for symbol, vector in zip(symbols, packed, strict=True)
        ]

    def table_rows(
        self, symbols: Sequence[str], views: Mapping[str, Sequence[str]], *, shared: Collection[str] = ()
    ) -> list[dict[str, TableRow | None]]:
        """Each symbol's newest row of each view, None where it has none, as Feast materialized it; one round trip.

        views: names of the features asked for, by view. shared: those of them whose rows are the same for every symbol.
        Raises StoreUnavailable, CorruptStore.
        """
        for_all = shared_key(self._project)
        fields = {view: table_fields(view, names) for view, names in views.items()}
        with self._naming_the_server(), self._client.pipeline(transaction=False) as pipeline:
            for symbol in symbols:
                for view, of_view in fields.items():
                    key = for_all if view in shared else online_key(symbol, self._project)
                    pipeline.hmget(key, of_view)  # type: ignore[arg-type]  # bytes are sent as they are
            answers = iter(pipeline.execute())
        return [{view: table_row(next(answers), names) for view, names in views.items()} for _ in symbols]

    def fields(self, asked: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """What hashes hold in some of their fields, given by key, in the order asked; one round trip.

        Raises StoreUnavailable.
        """
        with self._naming_the_server(), self._client.pipeline(transaction=False) as pipeline:
            for key, names in asked:
                pipeline.hmget(key, names)  # type: ignore[arg-type]  # bytes are sent as they are
            found: list[list[bytes | None]] = pipeline.execute()
        return found

    def run(self, script: Script, calls: Sequence[tuple[bytes | str, ...]]) -> list[int]:
        """Run a script with each key and its arguments, in one round trip. Raises StoreUnavailable."""
        return self._run(script, calls.__getitem__, len(calls))

    def _run(self, script: Script, call_at: CallAt, count: int) -> list[int]:
        with self._naming_the_server():
            answers = self._evaluate(script, call_at, range(count))
            if any(isinstance(answer, NoScriptError) for answer in answers):
                # A server forgets its scripts when it restarts or fails over.
                self._client.script_load(script.text)
                unanswered = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                again = self._evaluate(script, call_at, unanswered)
                for at, answer in zip(unanswered, again, strict=True):
                    answers[at] = answer
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def key(self, symbol: str) -> bytes:
        """The key of a symbol's hash."""
        return online_key(symbol, self._project)

    def symbols(self) -> list[str]:
        """Every symbol that has a row, sorted. It walks the keys of the whole database; raises StoreUnavailable."""
        with self._naming_the_server():
            keys: list[bytes] = list(self._client.scan_iter(count=1000))
        found = (symbol_of(key, self._project) for key in keys)
        return sorted({symbol for symbol in found if symbol is not None})

    def held(self, symbol: str, features: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether the symbol has each feature, given as view and name, value or null. Raises StoreUnavailable."""
        with self._naming_the_server(), self._client.pipeline(transaction=False) as pipeline:
            for view, feature in features:
                pipeline.hexists(online_key(symbol, self._project), feature_field(view, feature))  # type: ignore[arg-type]  # bytes are sent as they are
            return [bool(answer) for answer in pipeline.execute()]

    def ping(self) -> None:
        """Raises StoreUnavailable when the server does not answer."""
        with self._naming_the_server():
            self._client.ping()

    def memory(self) -> tuple[int, int | None]:
        """Bytes that the servers use together, and their limit, None without one. Raises StoreUnavailable."""
        with self._naming_the_server():
            answer = cast("dict[str, Any]", self._client.info("memory"))  # a synchronous client's answer
        # A cluster answers by node.
        nodes = [answer] if "used_memory" in answer else list(answer.values())
        limits = [int(node.get("maxmemory", 0)) for node in nodes]
        return sum(int(node["used_memory"]) for node in nodes), sum(limits) if all(limits) else None

    def close(self) -> None:
        """Close the pooled connections."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _client(self) -> RedisClient:
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _gone(self, rows: Sequence[OnlineRow]) -> dict[str, tuple[bytes, ...]]:
        """Of each row's symbol the fields of what it holds that the row's set has not."""
        if not rows:
            return {}
        with self._naming_the_server(), self._client.pipeline(transaction=False) as pipeline:
            for row in rows:
                pipeline.hget(online_key(row.symbol, self._project), VECTOR_FIELD)  # type: ignore[arg-type]  # bytes are sent as they are
            packed: list[bytes | None] = pipeline.execute()
        gone: dict[str, tuple[bytes, ...]] = {}
        for row, vector in zip(rows, packed, strict=True):
            if vector is None:
                continue
            with suppress(CorruptStore):  # it is replaced, whatever it was
                gone[row.symbol] = fields_gone(unpack(vector, symbol=row.symbol), self._layout_for(row.feature_set))
        return gone

    def _layout_for(self, feature_set: FeatureSet) -> Layout:
        """The set's layout, made once for the rows of one set."""
        layout = self._layout
        if layout is None or layout.feature_set is not feature_set:
            self._layout = layout = layout_of(feature_set)
        return layout

    def _script_arguments(self, row: OnlineRow, fence: int | None, gone: Sequence[bytes]) -> tuple[bytes | str, ...]:
        layout = self._layout_for(row.feature_set)
        fenced_by = "" if fence is None else sortable(fence)
        return (
            online_key(row.symbol, self._project),
            sortable_order(row),
            fenced_by,
            pack(row, layout.packed_names),
            layout.feast.pack(row.row_ns, row.values),
            *gone,
        )

    def _evaluate(self, script: Script, call_at: CallAt, numbers: Sequence[int]) -> list[Any]:
        client = self._client
        if isinstance(client, redis.Redis):
            return call_in_groups(client, script, call_at, numbers)
        with client.pipeline(transaction=False) as pipeline:  # type: ignore[no-untyped-call]  # untyped in redis-py
            for call in map(call_at, numbers):
                # Not evalsha(), which the pipeline of a cluster refuses: a script of one key goes where its key is.
                pipeline.execute_command("EVALSHA", script.sha, 1, *call)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers

    @contextmanager
    def _naming_the_server(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, RedisClusterException) as error:
            raise StoreUnavailable(f"redis {_address_of(self._opened)}: call failed: {error}") from error


def _address_of(client: RedisClient | None) -> str:
    if not isinstance(client, redis.Redis):
        return "cluster"
    address = client.connection_pool.connection_kwargs
    if isinstance(client.connection_pool, SentinelConnectionPool):
        return f"master {client.connection_pool.service_name}"
    return str(address.get("path") or ":".join(str(address[name]) for name in ("host", "port") if name in address))
