"""The rows of a symbol as they are stored, for any number of readers in this process; another may write them.

1. Every write to the online store publishes the packed vector on the symbol's channel, in the same atomic step.
2. The first reader of a symbol opens one connection for it, the last one closes it.
3. A connection that begins, or begins again after the server was away, reads the newest row first: a reader misses rows
   while the server is away, but never the newest.
4. A reader that is slow loses its oldest rows: ``MOST_WAITING`` wait for it at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from itertools import cycle
from typing import Any, Final, Self

import redis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from market.errors import CorruptStore
from storage.online.address import redis_address
from storage.online.vector import VECTOR_FIELD, OnlineVector, online_channel, online_key, unpack
from storage.outages import Outage

MOST_WAITING: Final = 64
"""Some seconds of rows at every tick of the grid."""
RETRY_S: Final = 0.5
POLL_S: Final = 5.0
"""How long a silent connection is listened to before it is asked whether it lives."""

_log = logging.getLogger(__name__)


class RowReader:
    """The rows of one symbol that one reader has not taken yet."""

    def __init__(self, step_ns: int) -> None:
        self.dropped = 0
        """Rows that were lost because the reader was slow."""
        self._step_ns = step_ns
        self._rows: deque[OnlineVector] = deque(maxlen=MOST_WAITING)
        self._has_more = asyncio.Event()
        self._is_closed = False

    async def take(self, timeout_s: float) -> OnlineVector | None:
        """The oldest row that waits; None when none came within the time, or when the feed closed."""
        if not self._rows and not self._is_closed:
            self._has_more.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._has_more.wait()
            except TimeoutError:
                return None
        return self.take_now()

    def take_now(self) -> OnlineVector | None:
        """The oldest row that waits; None when there is none."""
        return self._rows.popleft() if self._rows else None

    @property
    def is_closed(self) -> bool:
        """Whether no more rows will come."""
        return self._is_closed and not self._rows

    def put(self, row: OnlineVector) -> None:
        if row.row_ns % self._step_ns != 0:
            return
        self.dropped += len(self._rows) == MOST_WAITING
        self._rows.append(row)
        self._has_more.set()

    def close(self) -> None:
        self._is_closed = True
        self._has_more.set()


class RowFeed:
    """Follows symbols for readers, all on one event loop; only ``close`` may be called from another thread."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Redis]],
        *,
        project: str,
        retry_s: float = RETRY_S,
        connect_to_cluster: Callable[[], RedisCluster] | None = None,
    ) -> None:
        """connect: makes a client that leaves answers as bytes and is this feed's to close.

        connect_to_cluster: likewise, where the server is one node of a cluster: every node publishes what any of them
        is told, but holds its own keys alone.
        """
        self._connect = connect
        self._connect_to_cluster = connect_to_cluster
        self._project = project.encode()
        self._retry_s = retry_s
        self._readers: dict[str, list[RowReader]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._missing: set[str] = set()
        self._outage = Outage(_log, "the online store", meanwhile="readers miss rows")
        """Symbols whose connection is down: the log has a line for the first of them and one for the last."""
        self._newest: dict[str, OnlineVector] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @classmethod
    def connect(cls, settings: Mapping[str, Any], *, project: str) -> Self:
        """A feed from what ``OnlineStore.connect`` connects to. Raises InvalidRequest as that does."""
        address = redis_address(settings)
        # A connection that mended itself would hide that rows were missed.
        retry = Retry(NoBackoff(), 0)
        to_node = partial(Redis, retry=retry, **address.options)
        match address.kind:
            case "redis_cluster":
                nodes = cycle(address.nodes)

                def connect_to_a_node() -> Redis:
                    host, port = next(nodes)
                    return to_node(host=host, port=port)

                def connect_to_cluster() -> RedisCluster:
                    startup = [ClusterNode(host, port) for host, port in address.nodes]
                    return RedisCluster(startup_nodes=startup, retry=retry, **address.options)

                return cls(connect_to_a_node, project=project, connect_to_cluster=connect_to_cluster)
            case "redis_sentinel":

                @asynccontextmanager
                async def connect_to_master() -> AsyncIterator[Redis]:
                    watchers = Sentinel(address.nodes, retry=retry, **address.options)  # type: ignore[no-untyped-call]  # untyped in redis-py
                    try:
                        host, port = await watchers.discover_master(address.master)
                    finally:
                        for each in watchers.sentinels:
                            await each.aclose()
                    async with to_node(host=host, port=port) as client:
                        yield client

                return cls(connect_to_master, project=project)
            case "redis":
                [(host, port)] = address.nodes
                return cls(partial(to_node, host=host, port=port), project=project)

    @property
    def readers(self) -> int:
        """How many read at the moment."""
        return sum(len(readers) for readers in self._readers.values())

    @contextmanager
    def reading(self, symbol: str, *, step_ns: int = 1) -> Iterator[RowReader]:
        """A reader of a symbol's rows, the newest one first if it is there, then each as it is stored.

        step_ns: only rows whose time is a multiple of it.
        """
        self._loop = asyncio.get_running_loop()
        reader = RowReader(step_ns)
        if self._is_closed:
            reader.close()
        readers = self._readers.setdefault(symbol, [])
        readers.append(reader)
        if symbol in self._newest:
            reader.put(self._newest[symbol])
        if symbol not in self._tasks:
            self._tasks[symbol] = self._loop.create_task(self._follow(symbol), name=f"rows of {symbol}")
        try:
            yield reader
        finally:
            readers.remove(reader)
            if not readers:
                del self._readers[symbol]
                task = self._tasks.pop(symbol)
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
                task.cancel()
                self._newest.pop(symbol, None)
                self._missing.discard(symbol)

    async def ended(self) -> None:
        """Wait until the connections of readers that are gone are closed, which the end of the loop would cut short."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    def close(self) -> None:
        """End every reader, and every one to come; from any thread."""
        self._is_closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close_readers)

    def _close_readers(self) -> None:
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    async def _follow(self, symbol: str) -> None:
        key = online_key(symbol, self._project)
        while self._is_followed(symbol):
            try:
                async with self._connect() as client, client.pubsub() as channel:
                    await channel.subscribe(online_channel(key))
                    self._deliver(symbol, await self._stored(client, key))
                    self._is_back(symbol)
                    await self._listen(symbol, channel)
            except (redis.RedisError, OSError) as error:
                self._is_down(symbol, error)
                await asyncio.sleep(self._retry_s)

    def _is_down(self, symbol: str, error: Exception) -> None:
        if not self._is_followed(symbol):
            return
        self._outage.begin(error)
        self._missing.add(symbol)

    def _is_back(self, symbol: str) -> None:
        if symbol not in self._missing:
            return
        self._missing.remove(symbol)
        if not self._missing:
            self._outage.end()

    async def _stored(self, client: Redis, key: bytes) -> bytes | None:
        """The packed vector that is stored now."""
        # redis-py types HGET for text alone.
        if self._connect_to_cluster is None:
            stored: bytes | None = await client.execute_command("HGET", key, VECTOR_FIELD)  # type: ignore[no-untyped-call]
            return stored
        async with self._connect_to_cluster() as cluster:
            stored = await cluster.execute_command("HGET", key, VECTOR_FIELD)
            assert stored is None or isinstance(stored, bytes)
            return stored

    def _is_followed(self, symbol: str) -> bool:
        """Whether the present task is still the symbol's."""
        # A cancellation is not enough: asyncio.wait_for, with which redis-py sends, may swallow one in Python 3.11.
        return self._tasks.get(symbol) is asyncio.current_task()

    async def _listen(self, symbol: str, channel: PubSub) -> None:
        is_asked = False
        while self._is_followed(symbol):
            message = await channel.get_message(timeout=POLL_S)
            if message is None:
                if is_asked:
                    raise redis.ConnectionError(f"the server must answer within {POLL_S:g} s, did not")
                await channel.ping()
                is_asked = True
                continue
            is_asked = False
            if message["type"] == "message":
                self._deliver(symbol, message["data"])

    def _deliver(self, symbol: str, packed: bytes | None) -> None:
        if packed is None:
            return
        try:
            row = unpack(packed, symbol=symbol)
        except CorruptStore as error:
            _log.error("rows of %s: %s", symbol, error)
            return
        newest = self._newest.get(symbol)
        # A row read at the beginning may come again as a message.
        if newest is not None and (row.row_ns, row.available_ns) <= (newest.row_ns, newest.available_ns):
            return
        self._newest[symbol] = row
        for reader in self._readers.get(symbol, ()):
            reader.put(row)
