"""Which of two rows of a symbol stays in the online store: the newer, of a writer whose lease it is."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from feast.infra.online_stores.helpers import _mmh3
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # protobuf ships no types

from market.clock import SECOND_NS
from storage.online.scripts import WriteResult
from storage.online.store import MAX_AHEAD_NS, OnlineStore
from storage.online.vector import FENCE_FIELD, VECTOR_FIELD, online_key, sortable
from tests.online_rows import TWO_VIEWS, B, online_row, same_value, vector_of
from tests.online_servers import RawClient, Server


@pytest.mark.parametrize(
    "later",
    [
        (B + SECOND_NS, B + SECOND_NS),
        (B, B + 1),
        (10**18 + B, 10**18 + B),
    ],
    ids=["a later row", "the same row, available one nanosecond later", "a time of more digits"],
)
def test_the_newer_of_two_rows_stays_in_whichever_order_they_arrive(store: OnlineStore, later: tuple[int, int]) -> None:
    older = online_row(same_value(1.0), row_ns=B, available_ns=B)
    newer = online_row(same_value(2.0), row_ns=later[0], available_ns=later[1])
    now_ns = later[0]
    assert store.write([older], now_ns=now_ns).written == 1
    assert store.write([newer], now_ns=now_ns).written == 1
    assert store.write([older], now_ns=now_ns) == WriteResult(written=0, superseded=1, refused=0)
    assert vector_of(store).values.tolist() == [2.0] * 5


def test_order_holds_over_the_whole_range_of_time(store: OnlineStore) -> None:
    times = [-2 * SECOND_NS, -SECOND_NS, 0, 9 * SECOND_NS, 10 * SECOND_NS, 10**18 - SECOND_NS, 10**18, B]
    for i, time_ns in enumerate(times):
        assert store.write([online_row(row_ns=time_ns)], now_ns=B).written == 1
        earlier = [online_row(row_ns=earlier_ns) for earlier_ns in times[:i]]
        assert store.write(earlier, now_ns=B).superseded == i


def test_a_late_row_does_not_win_by_having_become_available_later(store: OnlineStore) -> None:
    store.write([online_row(same_value(2.0), row_ns=B)], now_ns=B)
    late = online_row(same_value(1.0), row_ns=B - SECOND_NS, available_ns=B + 3600 * SECOND_NS)
    assert store.write([late], now_ns=B).superseded == 1
    assert vector_of(store).values[0] == 2.0


def test_of_equal_pairs_the_later_writer_wins(store: OnlineStore) -> None:
    store.write([online_row(same_value(1.0))], now_ns=B)
    assert store.write([online_row(same_value(2.0))], now_ns=B).written == 1
    assert vector_of(store).values[0] == 2.0


def test_under_racing_writers_a_reader_sees_whole_rows_that_only_get_newer(
    server: Server, project: str, client: RawClient
) -> None:
    count = 400
    start = threading.Barrier(3)

    def write_all(writer: int) -> int:
        # Both climb, out of order by up to thirty rows: however the threads are scheduled, older meets newer.
        seconds = np.arange(writer, count, 2)
        order = seconds[np.argsort(seconds + np.random.default_rng(writer).uniform(0, 30, len(seconds)))]
        with server.client() as own:
            store = OnlineStore(own, project=project)
            start.wait()
            rows = [online_row(same_value(float(i)), row_ns=B + int(i) * SECOND_NS) for i in order]
            return sum(store.write([row], now_ns=B + count * SECOND_NS).written for row in rows)

    OnlineStore(client, project=project).write([online_row(same_value(-1.0), row_ns=B - SECOND_NS)], now_ns=B)
    (key,) = client.scan_iter(f"*{project}")
    fields = [_mmh3(f"{view}:{name}") for view, names in TWO_VIEWS.items() for name in names]
    seen = []
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write_all, writer) for writer in range(2)]
        start.wait()
        while not all(writer.done() for writer in writers):
            seen.append(client.hmget(key, *fields, "_ts:price", "_ts:orderflow", VECTOR_FIELD))
        assert sum(writer.result() for writer in writers) > 1
    seen.append(client.hmget(key, *fields, "_ts:price", "_ts:orderflow", VECTOR_FIELD))

    newest = -1.0
    for *values, price_time, orderflow_time, packed in seen:
        assert len(set(values)) == 1
        assert price_time == orderflow_time
        (value,) = struct.unpack("<xd", values[0])
        assert Timestamp.FromString(price_time).seconds == B // SECOND_NS + int(value)
        assert msgspec.msgpack.decode(packed)[2] == B + int(value) * SECOND_NS
        assert value >= newest
        newest = value
    assert newest == count - 1


def test_once_a_symbol_was_written_with_a_fence_a_lower_one_stores_nothing(
    store: OnlineStore, client: RawClient, project: str
) -> None:
    values = same_value(1.0)
    first, second = online_row(values), online_row(values, row_ns=B + SECOND_NS)
    other = online_row(values, symbol="ETHUSDT", row_ns=B + SECOND_NS)
    assert store.write([first], now_ns=B, fences={"BTCUSDT": 9}).written == 1
    assert store.write([first], now_ns=B, fences={"BTCUSDT": 10}).written == 1
    fenced = store.write([other, second], now_ns=B, fences={"BTCUSDT": 9, "ETHUSDT": 1})
    assert fenced == WriteResult(written=1, superseded=0, refused=0, fenced=("BTCUSDT",))
    assert vector_of(store).row_ns == B
    # A row that is too old to be stored claims the symbol all the same.
    before = online_row(values, row_ns=B - SECOND_NS)
    assert store.write([before], now_ns=B, fences={"BTCUSDT": 11}).superseded == 1
    assert store.write([second], now_ns=B, fences={"BTCUSDT": 10}).fenced == ("BTCUSDT",)
    assert client.hget(online_key("BTCUSDT", project.encode()), FENCE_FIELD) == sortable(11).encode()
    # Who has no lease is not checked.
    assert store.write([second], now_ns=B).written == 1


def test_a_row_from_the_far_future_is_refused_and_the_rest_is_written(store: OnlineStore) -> None:
    edge = online_row(symbol="BTCUSDT", row_ns=B + MAX_AHEAD_NS)
    beyond = online_row(symbol="ETHUSDT", row_ns=B + MAX_AHEAD_NS + 1)
    assert store.write([edge, beyond], now_ns=B) == WriteResult(written=1, superseded=0, refused=1)
    assert [vector is None for vector in store.read(["BTCUSDT", "ETHUSDT"])] == [False, True]
