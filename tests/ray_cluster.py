"""A Ray cluster of processes of this machine: a head and further nodes, each of which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.ports import free_port

_RAY = Path(sys.executable).with_name("ray")
_STORE_BYTES = 100_000_000


class Node:
    """One node, a process group of its own."""

    def __init__(self, *arguments: str, cpus: int, folder: str) -> None:
        self._process = subprocess.Popen(
            [
                _RAY,
                "start",
                "--block",
                "--disable-usage-stats",
                f"--num-cpus={cpus}",
                f"--object-store-memory={_STORE_BYTES}",
                f"--temp-dir={folder}",
                "--node-ip-address=127.0.0.1",
                *arguments,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        )

    @property
    def group(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End every process of the node at once, as a machine that loses power does."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Cluster:
    """A head, and nodes that join it."""

    def __init__(self, *, cpus: int) -> None:
        # Ray's sockets lie below it, and a socket's path is short.
        self._folder, self._cpus = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True), cpus
        self._port = free_port()
        self._nodes: list[Node] = []
        self.start_head()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def groups(self) -> set[int]:
        """Process groups of the nodes."""
        return {node.group for node in self._nodes}

    def start_head(self) -> None:
        head = Node(
            "--head", f"--port={self._port}", "--include-dashboard=false", cpus=self._cpus, folder=self._folder.name
        )
        self._nodes.insert(0, head)

    def add_node(self, *, cpus: int) -> Node:
        node = Node(f"--address={self.address}", cpus=cpus, folder=self._folder.name)
        self._nodes.append(node)
        return node

    def kill_head(self) -> None:
        self._nodes.pop(0).kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self._nodes:
            node.kill()
        self._folder.cleanup()
