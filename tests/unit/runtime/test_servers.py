"""Servers: the configured Redis in Feast's own words."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from feast.infra.online_stores.redis import RedisOnlineStore

from market.errors import CorruptStore
from runtime.servers import Servers, _announced, require_servers_of_another_process
from runtime.settings import Settings, load_settings
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


def settings_of(folder: Path) -> Settings:
    return load_settings({"FEATURE_SERVICE_DATA_PATH": str(folder), "REDIS_HOST": None}, env_file=None)


def test_a_repr_shows_no_secret() -> None:
    secured = replace(ONE, redis_password="pass-1", postgres_url="postgresql://u:pass-2@h/d")  # noqa: S106  # a test's
    assert "pass-" not in repr(secured)


def test_what_is_announced_is_for_the_same_account_alone(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text("{}")
    (tmp_path / "servers.json").chmod(0o644)
    with _announced(tmp_path, ONE):
        assert (tmp_path / "servers.json").stat().st_mode & 0o777 == 0o600
        require_servers_of_another_process(settings_of(tmp_path))
    assert not (tmp_path / "servers.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"pid": 1}',
        json.dumps(asdict(ONE)),
        json.dumps({"pid": "x", **asdict(ONE)}),
        json.dumps({"pid": os.getpid(), **asdict(ONE), "redis_port": "six"}),
        "\udcff",
    ],
)
def test_what_nobody_announced_is_told_in_one_line_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "servers.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CorruptStore, match=r"servers\.json: must be what a running feature-service announced") as told:
        require_servers_of_another_process(settings_of(tmp_path))
    assert "\n" not in str(told.value)
