"""Ports for the servers that tests start."""

from __future__ import annotations

import socket


def free_port(*, below: int = 1 << 16) -> int:
    """A port that nobody listens on at this moment."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < below:
            return port
