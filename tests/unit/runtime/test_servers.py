"""Servers: the configured Redis in Feast's own words."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from feast.infra.online_stores.redis import RedisOnlineStore

from market.errors import CorruptStore
from runtime.servers import Servers, _announced, configured_redis, require_servers_of_another_process
from runtime.settings import Settings, load_settings
from storage.online.address import BOUNDS, redis_address, redis_settings

ONE = Servers(redis_settings("r:6380", db=2), "postgresql://")


def configured(**changes: str) -> dict[str, str]:
    redis = {"REDIS_HOST": "r", "REDIS_PORT": "6380", "REDIS_DB": "2", **changes}
    return configured_redis(load_settings(redis, env_file=None))


def test_one_server_is_named_with_its_database_and_secrets(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    tls = {"REDIS_TLS": "true", "REDIS_TLS_CA_FILE": str(tmp_path / "ca.pem")}
    assert configured(REDIS_USER="u", REDIS_PASSWORD="p", **tls) == {  # noqa: S106  # a test's
        "type": "redis",
        "connection_string": f"r:6380,db=2,username=u,password=p,ssl=true,ssl_ca_certs={tmp_path / 'ca.pem'}",
    }


def test_a_cluster_is_named_by_its_nodes_without_a_database() -> None:
    assert configured(REDIS_TYPE="redis_cluster", REDIS_HOST="a:1,b") == {
        "type": "redis",
        "redis_type": "redis_cluster",
        "connection_string": "a:1,b:6380",
    }


def test_a_watched_master_is_named_by_its_sentinels() -> None:
    assert configured(REDIS_TYPE="redis_sentinel", REDIS_HOST="a,b", REDIS_SENTINEL_MASTER="m") == {
        "type": "redis",
        "redis_type": "redis_sentinel",
        "connection_string": "a:6380,b:6380,db=2",
        "sentinel_master": "m",
    }


@pytest.mark.parametrize("password", ["p", "a,b=c", "12345", "true", '"quoted"', "{}", "é, ü", "db=7"])
def test_any_password_is_read_back_by_feast_and_by_us(password: str) -> None:
    settings = configured(REDIS_PASSWORD=password)
    assert redis_address(settings).options == {"db": 2, "password": password, **BOUNDS}
    nodes, options = RedisOnlineStore._parse_connection_string(settings["connection_string"])
    assert (nodes, options) == ([{"host": "r", "port": "6380"}], {"db": 2, "password": password})


def settings_of(folder: Path) -> Settings:
    return load_settings({"FEATURE_SERVICE_DATA_PATH": str(folder), "REDIS_HOST": None}, env_file=None)


def test_a_repr_shows_no_secret() -> None:
    secured = Servers(redis_settings("r:1", password="pass-1"), "postgresql://u:pass-2@h/d")  # noqa: S106  # a test's
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
        # An id of its own: with its number, processes that share the tests would not agree on their names.
        pytest.param(json.dumps({"pid": os.getpid(), **asdict(ONE), "online_store": "six"}), id="of a running process"),
        "\udcff",
    ],
)
def test_what_nobody_announced_is_told_in_one_line_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "servers.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CorruptStore, match=r"servers\.json: must be what a running feature-service announced") as told:
        require_servers_of_another_process(settings_of(tmp_path))
    assert "\n" not in str(told.value)
