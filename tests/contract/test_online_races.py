"""A Redis that many write to and read at once: no older row wins, and no vector is torn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis

from market.clock import SECOND_NS
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from tests.redis_servers import RedisServer, running_redis
from tests.whole_rows import SYMBOLS, B, online_row, second_of


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as found:
        yield found


def race(server: RedisServer, operations: int) -> None:
    """Writers climb out of order, readers read every symbol: whole rows that only get newer, the newest at the end."""
    writers, readers = 4, 2
    per_writer = operations // writers
    is_done = threading.Event()

    def write(writer: int) -> tuple[int, int]:
        random = np.random.default_rng(writer)
        order = np.argsort(np.arange(per_writer) + random.uniform(0, 50, per_writer))
        store = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="race")
        results = [
            store.write([online_row(symbol, int(i) * writers + writer) for symbol in SYMBOLS], now_ns=2 * B)
            for i in order
        ]
        store.close()
        return sum(each.written for each in results), sum(each.superseded for each in results)

    def read() -> int:
        store = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="race")
        newest = dict.fromkeys(SYMBOLS, -1)
        count = 0
        while not is_done.is_set():
            for vector in store.read(SYMBOLS):
                if vector is not None:
                    second = (vector.row_ns - B) // SECOND_NS
                    assert set(vector.values.tolist()) == {float(second)}, "torn"
                    assert second >= newest[vector.symbol], "an older row won"
                    newest[vector.symbol] = second
                    count += 1
        store.close()
        return count

    with ThreadPoolExecutor(writers + readers) as pool:
        reading = [pool.submit(read) for _ in range(readers)]
        writing = [pool.submit(write, writer) for writer in range(writers)]
        try:
            totals = [each.result() for each in writing]
        finally:
            is_done.set()
        assert all(each.result() > 0 for each in reading)
    assert sum(map(sum, totals)) == per_writer * writers * len(SYMBOLS)
    assert all(superseded > 0 for _, superseded in totals)
    store = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="race")
    assert [second_of(store, symbol) for symbol in SYMBOLS] == [per_writer * writers - 1] * len(SYMBOLS)
    store.close()


def test_of_ten_thousand_racing_writes_no_older_one_wins_and_no_vector_is_torn(server: RedisServer) -> None:
    race(server, 10_000 // len(SYMBOLS))


@pytest.mark.soak
def test_of_a_hundred_thousand_racing_writes_no_older_one_wins_and_no_vector_is_torn(server: RedisServer) -> None:
    race(server, 100_000)


def test_a_reader_of_feasts_own_fields_sees_one_row_when_it_asks_once(server: RedisServer) -> None:
    store = OnlineStore.connect(redis_settings(f"127.0.0.1:{server.port}"), project="fields")
    with redis.Redis(port=server.port) as client:
        store.write([online_row("AUSDT", 1)], now_ns=2 * B)
        store.write([online_row("AUSDT", 2)], now_ns=2 * B)
        [key] = client.keys("*fields")
        times = client.hmget(key, "_ts:left", "_ts:right")
        assert len(set(times)) == 1
    store.close()
