"""A Redis that forgets, refuses, is absent or silent is an error that names it, or is taught again."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import redis

from market.errors import StoreUnavailable
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from tests.online_rows import B, online_row
from tests.online_servers import Server


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_a_server_that_forgot_its_scripts_is_taught_them_again(store: OnlineStore, client: redis.Redis) -> None:
    client.script_flush()
    rows = [online_row(symbol=symbol) for symbol in ("BTCUSDT", "ETHUSDT")]
    assert store.write(rows, now_ns=B).written == 2
    client.script_flush()
    assert store.write(rows, now_ns=B).written == 2


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_a_server_that_refuses_to_write_is_an_error_and_not_a_superseded_row(
    store: OnlineStore, client: redis.Redis
) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match=r"call failed: .*OOM"):
            store.write([online_row()], now_ns=B)
    finally:
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("server", ["configured"], indirect=True)
def test_a_store_connects_by_address_and_answers_a_ping(project: str, server: Server) -> None:
    store = OnlineStore.connect(redis_settings("{host}:{port}".format(**server.options)), project=project)
    try:
        store.ping()
        assert store.write([online_row()], now_ns=B).written == 1
    finally:
        store.close()


CALLS: list[Callable[[OnlineStore], object]] = [
    lambda store: store.ping(),
    lambda store: store.read(["BTCUSDT"]),
    lambda store: store.write([online_row()], now_ns=B),
]


@pytest.mark.parametrize("call", CALLS, ids=["ping", "read", "write"])
def test_an_absent_server_is_named(call: Callable[[OnlineStore], object]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"redis 127.0.0.1:{port}: call failed: "):
            call(OnlineStore.connect(redis_settings(f"127.0.0.1:{port}"), project="absent"))


@pytest.mark.parametrize("call", CALLS, ids=["ping", "read", "write"])
def test_a_silent_server_is_given_up(call: Callable[[OnlineStore], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
            call(OnlineStore.connect(redis_settings(f"127.0.0.1:{port}", socket_timeout=0.02), project="silent"))
