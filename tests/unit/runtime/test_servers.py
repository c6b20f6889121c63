"""Servers: the configured Redis in Feast's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from feast.infra.online_stores.redis import RedisOnlineStore

from runtime.servers import Servers
from storage.online.store import addresses_and_options

ONE = Servers("r", 6380, 2, None, "postgresql://")


def test_one_server_is_named_with_its_database_and_secrets() -> None:
    secured = replace(ONE, redis_password="p", redis_tls=True, redis_tls_ca_file="/ca.pem")  # noqa: S106  # a test's
    assert secured.feast_online_store == {
        "type": "redis",
        "connection_string": "r:6380,db=2,password=p,ssl=true,ssl_ca_certs=/ca.pem",
    }


def test_a_cluster_is_named_by_its_nodes_without_a_database() -> None:
    cluster = replace(ONE, redis_type="redis_cluster", redis_host="a:1,b")
    assert cluster.feast_online_store == {
        "type": "redis",
        "redis_type": "redis_cluster",
        "connection_string": "a:1,b:6380",
    }


def test_a_watched_master_is_named_by_its_sentinels() -> None:
    watched = replace(ONE, redis_type="redis_sentinel", redis_host="a,b", redis_sentinel_master="m")
    assert watched.feast_online_store == {
        "type": "redis",
        "redis_type": "redis_sentinel",
        "connection_string": "a:6380,b:6380,db=2",
        "sentinel_master": "m",
    }


@pytest.mark.parametrize("password", ["p", "a,b=c", "12345", "true", '"quoted"', "{}", "é, ü", "db=7"])
def test_any_password_is_read_back_by_feast_and_by_us(password: str) -> None:
    connection = replace(ONE, redis_password=password).feast_online_store["connection_string"]
    assert addresses_and_options(connection) == ([("r", 6380)], {"db": 2, "password": password})
    nodes, options = RedisOnlineStore._parse_connection_string(connection)
    assert (nodes, options) == ([{"host": "r", "port": "6380"}], {"db": 2, "password": password})
