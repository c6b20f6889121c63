"""Loopback ports of embedded servers: a free one, and the one of the last time."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def kept_port(path: Path) -> int | None:
    """The port of the last time, if it can be read and is free."""
    try:
        port = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    with socket.socket() as probe:
        # As servers do: what is left of closed connections keeps nobody from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return None
    return port


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
