"""Rows as they are stored, from a real Redis: to several readers, to slow ones, and over an outage."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from storage.online.address import redis_settings
from storage.online.feed import MOST_WAITING, RowFeed, RowReader
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests import waiting
from tests.redis_servers import RedisServer, running_redis
from transforms.rows import FeatureGroup, FeatureSet

B = 1_772_000_000 * SECOND_NS
DEADLINE_S = 20.0
eventually = partial(waiting.eventually_async, deadline_s=DEADLINE_S, pause_s=0.005)
SET = FeatureSet("1.0.0", ("f",), (FeatureGroup("price", "p", ("f",), (0,)),), "f00d")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as found:
        yield found


@pytest.fixture
def store(server: RedisServer) -> Iterator[OnlineStore]:
    with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="p")) as found:
        yield found


def feed_from(server: RedisServer) -> RowFeed:
    return RowFeed.connect(redis_settings(f"127.0.0.1:{server.port}"), project="p")


def write(store: OnlineStore, symbol: str, second: float) -> None:
    row_ns = B + round(second * SECOND_NS)
    values, status = np.array([float(second)]), np.zeros(1, np.int8)
    store.write([OnlineRow(symbol, SET, row_ns, row_ns + 1, values, status, {})], now_ns=row_ns)


async def take(reader: RowReader) -> float:
    """The value of the next row, which is the second it was written for."""
    row = await reader.take(DEADLINE_S)
    assert row is not None, "a row must come before the deadline"
    [value] = row.values.tolist()
    assert row.row_ns == B + round(value * SECOND_NS)
    return float(value)


def test_readers_have_the_newest_row_at_once_then_each_that_is_stored(server: RedisServer, store: OnlineStore) -> None:
    async def read() -> None:
        feed = feed_from(server)
        write(store, "AUSDT", 1)
        with feed.reading("AUSDT") as early, feed.reading("BUSDT") as other:
            assert await take(early) == 1
            for second in (2, 3):
                write(store, "AUSDT", second)
                write(store, "BUSDT", second)
            write(store, "AUSDT", 1)  # older: not stored, so not published
            write(store, "AUSDT", 4)
            assert [await take(early) for _ in range(3)] == [2, 3, 4]
            # A follower that connects between two rows begins with the second.
            while (newest := await take(other)) != 3:
                assert newest == 2
            with feed.reading("AUSDT") as late:
                assert feed.readers == 3
                assert await take(late) == 4
                write(store, "AUSDT", 5)
                assert [await take(early), await take(late)] == [5, 5]
        assert feed.readers == 0
        await feed.ended()

    asyncio.run(read())


def test_a_reader_that_is_slow_loses_its_oldest_rows_and_no_other_reader_does(
    server: RedisServer, store: OnlineStore
) -> None:
    async def read() -> None:
        feed = feed_from(server)
        write(store, "AUSDT", 0)
        with feed.reading("AUSDT") as slow, feed.reading("AUSDT") as fast:
            last = 3 * MOST_WAITING
            assert await take(fast) == 0
            for second in range(1, last + 1):
                write(store, "AUSDT", second)
                assert await take(fast) == second
            assert slow.dropped == last + 1 - MOST_WAITING
            assert await take(slow) == last + 1 - MOST_WAITING
            assert fast.dropped == 0
        await feed.ended()

    asyncio.run(read())


def test_a_reader_of_whole_seconds_gets_no_tick_between_and_loses_none_of_its_rows_to_them(
    server: RedisServer, store: OnlineStore
) -> None:
    async def read() -> None:
        feed = feed_from(server)
        write(store, "AUSDT", 1.1)
        with feed.reading("AUSDT", step_ns=SECOND_NS) as seconds, feed.reading("AUSDT") as every:
            assert await take(every) == 1.1
            write(store, "AUSDT", 2)
            assert await take(every) == 2
            for tick in range(2 * MOST_WAITING):
                row = 2 + (tick + 1) / (2 * MOST_WAITING + 1)
                write(store, "AUSDT", row)
                assert await take(every) == row
            write(store, "AUSDT", 3)
            assert [await take(seconds), await take(seconds)] == [2, 3]
            assert seconds.dropped == 0
        await feed.ended()

    asyncio.run(read())


def test_a_server_that_dies_and_comes_back_costs_rows_but_never_the_newest(
    server: RedisServer, store: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> None:
        feed = feed_from(server)
        write(store, "AUSDT", 1)
        with feed.reading("AUSDT") as reader, feed.reading("BUSDT") as other:
            assert await take(reader) == 1
            server.kill()
            assert await reader.take(0.2) is None
            with pytest.raises(StoreUnavailable):
                write(store, "AUSDT", 2)
            server.start()
            write(store, "AUSDT", 3)
            assert await take(reader) == 3
            write(store, "AUSDT", 4)
            assert await take(reader) == 4
            write(store, "BUSDT", 4)
            assert await take(other) == 4
        await feed.ended()

    asyncio.run(read())
    # One line, however many symbols are followed.
    assert sum("the online store is down" in record.message for record in caplog.records) == 1
    assert sum("the online store is back" in record.message for record in caplog.records) == 1


def test_closing_from_another_thread_ends_every_reader_and_those_to_come(server: RedisServer) -> None:
    async def read() -> None:
        feed = feed_from(server)
        with feed.reading("AUSDT") as reader:
            waiting = asyncio.create_task(reader.take(DEADLINE_S))
            await asyncio.to_thread(feed.close)
            assert await waiting is None
            assert reader.is_closed
        with feed.reading("AUSDT") as reader:
            assert reader.is_closed
        await feed.ended()

    asyncio.run(read())


def test_the_last_reader_leaves_no_connection(server: RedisServer, store: OnlineStore) -> None:
    async def read() -> None:
        feed = feed_from(server)
        write(store, "AUSDT", 1)
        with feed.reading("AUSDT") as reader:
            assert await take(reader) == 1
            assert followers() == 1
        await eventually(lambda: followers() == 0)

    def followers() -> int:
        # This store's own connection does not subscribe.
        return sum("sub=1" in line for line in clients().splitlines())

    def clients() -> str:
        with socket.create_connection(("127.0.0.1", server.port)) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"CLIENT LIST\r\nQUIT\r\n")
            return answer.read().decode()

    asyncio.run(read())
