"""A live worker whose broker, Redis or PostgreSQL goes away: never a wrong value or a lost acknowledged message."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.database.leases import Leases
from tests.broker import Broker
from tests.gateway import QUEUES, publish_in_time
from tests.live import VERSION, LiveIngest, eventually, live_settings, running
from tests.live_market import (
    all_taped,
    check_all,
    fed,
    kernel,
    market,
    messages_taken,
    row_times,
    rows_are_online,
    rows_pass,
    settings,
)
from tests.redis_servers import RedisServer
from tests.tcp_proxy import TcpProxy
from transforms.kernel import Kernel

__all__ = ["kernel", "settings"]  # fixtures


def test_a_broker_that_restarts_loses_nothing_and_rows_go_on_meanwhile(
    tmp_path: Path, kernel_cache: Path, live_servers: Servers, broker: Broker
) -> None:
    own = Broker()
    try:
        own.start()
        own.declare([*QUEUES.values(), "features.live"])
        settings = live_settings(tmp_path / "data", own, kernel_cache, "BTCUSDT,ETHUSDT")
        before, after = market(4), None
        with running(settings, live_servers) as ingest:
            publish_in_time(own, before)
            all_taped(settings, before)
            own.stop()
            rows_pass(ingest, max(row_times(ingest).values()) + SECOND_NS)
            eventually(lambda: ingest.status()["worker"]["broker_is_connected"] == 0)
            own.start()
            after = market(3, seed=6)
            publish_in_time(own, after)
            all_taped(settings, [*before, *after])
            rows_pass(ingest, time.time_ns() + SECOND_NS)
            assert ingest.status()["worker"]["broker_connections_total"] >= 2
            assert ingest.status()["worker"]["publish_outages_total"] == 1
        check_all(settings, compiled_kernel(settings, VERSION), own, [*before, *after], tmp_path / "replay")
        assert own.waiting("features.live") > 0
    finally:
        own.remove()


def test_a_connection_cut_in_mid_message_brings_each_message_once(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    proxy = TcpProxy(("127.0.0.1", broker.port))
    passed = market(6)
    cut = settings.model_copy(update={"rabbitmq_port": proxy.port})
    try:
        with running(cut, live_servers) as ingest:
            with fed(broker, passed) as wait:
                for _ in range(3):
                    more = messages_taken(ingest) + 50
                    eventually(partial(_has_taken, ingest, more))
                    proxy.cut_after(1500)
                    eventually(proxy.was_cut)
                wait()
            all_taped(settings, passed)
            rows_pass(ingest, time.time_ns() + SECOND_NS)
    finally:
        proxy.close()
    assert proxy.cuts >= 3
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def _has_taken(ingest: LiveIngest, count: int) -> bool:
    return messages_taken(ingest) >= count


@pytest.mark.parametrize("away_s", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_a_redis_that_is_away_misses_rows_that_the_log_and_the_queue_have_and_gets_the_newest(
    settings: Settings,
    kernel: Kernel,
    live_servers: Servers,
    redis_server: RedisServer,
    broker: Broker,
    tmp_path: Path,
    away_s: int,
) -> None:
    passed = market(5 + away_s)
    with running(settings, live_servers) as ingest:
        with fed(broker, passed) as wait:
            rows_pass(ingest, passed[0].recv_ns)
            redis_server.kill()
            rows_pass(ingest, max(row_times(ingest).values()) + away_s * SECOND_NS)
            eventually(lambda: ingest.status()["worker"]["online_is_away"] == 1)
            redis_server.start()
            wait()
        all_taped(settings, passed)
        rows_pass(ingest, time.time_ns() + SECOND_NS)
        eventually(lambda: ingest.status()["worker"]["online_is_away"] == 0)
        rows_are_online(live_servers, passed[-1].recv_ns)
        assert ingest.status()["worker"]["online_outages_total"] == 1
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def test_a_postgres_that_is_away_stops_no_row_and_costs_no_lease(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    query = parse_qs(urlsplit(live_servers.postgres_url).query)
    proxy = TcpProxy(Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}")
    through = replace(live_servers, postgres_url=f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres")
    passed = market(6)
    try:
        with running(settings, through) as ingest, closing(Leases(live_servers.postgres_url)) as leases:
            eventually(lambda: len(leases.owners()) == 2)
            owners = leases.owners()
            with fed(broker, passed):
                rows_pass(ingest, passed[0].recv_ns)
                proxy.go_away()
                eventually(lambda: ingest.status()["worker"]["lease_outages_total"] == 1)
                eventually(lambda: leases.owners() == {})
                rows_pass(ingest, max(row_times(ingest).values()) + SECOND_NS)
                proxy.come_back()
                eventually(lambda: leases.owners() == owners)
            all_taped(settings, passed)
            rows_pass(ingest, time.time_ns() + SECOND_NS)
    finally:
        proxy.close()
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
