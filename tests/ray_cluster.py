"""A Ray cluster of processes of this machine: a head and further nodes, each of which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.ports import free_port

_RAY = Path(sys.executable).with_name("ray")
_STORE_BYTES = 100_000_000


class Node:
    """One node with a folder of its own, as on a machine of its own.

    Ray refuses to start a head whose folder names the head before it while any process of this machine has that one's
    address, as the nodes that outlived it do.
    """

    def __init__(self, *arguments: str, cpus: int) -> None:
        # Ray's sockets lie below it, and a socket's path is short.
        self._folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        self._output = Path(self._folder.name) / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    _RAY,
                    "start",
                    "--block",
                    "--disable-usage-stats",
                    f"--num-cpus={cpus}",
                    f"--object-store-memory={_STORE_BYTES}",
                    f"--temp-dir={self._folder.name}",
                    "--node-ip-address=127.0.0.1",
                    *arguments,
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            )

    def performing(self) -> list[int]:
        """Its processes that perform a task at this moment."""
        return [process for process in self._processes() if _command(process).startswith(b"ray::_perform")]

    def check(self) -> None:
        """Raises AssertionError with its output when it ended by itself."""
        ended = self._process.poll()
        assert ended is None, f"Ray node: must live until it is killed, ended with {ended}: {self._output.read_text()}"

    def kill(self) -> None:
        """End every process of the node at once, as a machine that loses power does."""
        killed = set[int]()
        while left := {*self._processes()} - killed:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            killed |= left
        self._process.wait()
        self._folder.cleanup()

    def _processes(self) -> list[int]:
        """Of its session: workers of Ray have process groups of their own."""
        listed = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [process for process in listed if self._has(process)]

    def _has(self, process: int) -> bool:
        try:
            return os.getsid(process) == self._process.pid
        except ProcessLookupError:
            return False


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Cluster:
    """A head, and nodes that join it.

    A node ends by itself when its head is gone. A head does not: AssertionError with its output when it is killed, at
    the latest with the cluster.
    """

    def __init__(self, *, cpus: int) -> None:
        self._cpus, self._port = cpus, free_port()
        self._nodes: list[Node] = []
        self.start_head()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def performing(self) -> list[int]:
        """Processes that perform a task at this moment."""
        return [process for node in (self._head, *self._nodes) for process in node.performing()]

    def start_head(self) -> None:
        self._head = Node("--head", f"--port={self._port}", "--include-dashboard=false", cpus=self._cpus)

    def add_node(self, *, cpus: int) -> Node:
        node = Node(f"--address={self.address}", cpus=cpus)
        self._nodes.append(node)
        return node

    def kill_head(self) -> None:
        try:
            self._head.check()
        finally:
            self._head.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self._nodes:
            node.kill()
        self.kill_head()
