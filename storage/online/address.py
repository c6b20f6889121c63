"""The address of a Redis: the ``online_store`` part of a feature_store.yaml, written and read as Feast does it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from market.errors import InvalidRequest

RedisKind = Literal["redis", "redis_cluster", "redis_sentinel"]
"""One server, a cluster, or a master watched by sentinels, as Feast names them."""
BOUNDS: Final[Mapping[str, Any]] = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}
"""Of every call, in seconds, where the connection string sets no others."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """nodes: the server, nodes of the cluster, or sentinels. options: redis-py's. master: its name with sentinels."""

    kind: RedisKind
    nodes: Sequence[tuple[str, int]]
    options: Mapping[str, Any]
    master: str


def redis_settings(
    *nodes: str,
    kind: RedisKind = "redis",
    sentinel_master: str = "mymaster",
    **options: str | float | None,
) -> dict[str, str]:
    """The settings of the Redis at some nodes, host:port. options: redis-py's; None is left out."""
    given = [f"{name}={_as_option(value)}" for name, value in options.items() if value is not None]
    settings = {"type": "redis", "connection_string": ",".join([*nodes, *given])}
    if kind != "redis":
        settings["redis_type"] = kind
    if kind == "redis_sentinel":
        settings["sentinel_master"] = sentinel_master
    return settings


def redis_address(settings: Mapping[str, Any]) -> RedisAddress:
    """What settings name, calls bounded. Raises InvalidRequest when Feast would not take them for a Redis."""
    kind = settings.get("redis_type", "redis")
    if settings.get("type") != "redis" or kind not in get_args(RedisKind):
        raise InvalidRequest(
            f"online_store: must be of type redis and redis_type redis, redis_cluster or redis_sentinel, "
            f"was {settings.get('type')!r} and {kind!r}"
        )
    nodes: list[tuple[str, int]] = []
    options: dict[str, Any] = dict(BOUNDS)
    for part in str(settings.get("connection_string", "localhost:6379")).split(","):
        name, is_option, value = part.partition("=")
        if is_option:
            options[name] = _option(value)
            continue
        host, _, port = part.rpartition(":")
        if not host or not port.isdecimal():
            raise InvalidRequest(f"connection_string: must name servers as host:port, was {part!r}")
        nodes.append((host, int(port)))
    if not nodes:
        raise InvalidRequest("connection_string: must name a server, was without one")
    if kind == "redis" and len(nodes) > 1:
        raise InvalidRequest(f"connection_string: must name one server of redis_type redis, was {nodes}")
    return RedisAddress(cast("RedisKind", kind), nodes, options, str(settings.get("sentinel_master", "mymaster")))


def _as_option(value: str | float) -> str:
    """A value in Feast's connection string, which is parted at commas and read as JSON where it is JSON."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except json.JSONDecodeError:
        if "," not in value:
            return value
    return json.dumps(value).replace(",", "\\u002c")


def _option(value: str) -> Any:  # noqa: ANN401  # whatever redis-py takes
    """An option as Feast reads it: JSON where it is JSON, else text."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
