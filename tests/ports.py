"""Ports for the servers that tests start.

A port belongs to the process that asked for it until that process ends. No other test process is given it, and it is
below the ports that Linux and macOS give to clients. So a server can be stopped and started again on its port, and a
port that should refuse connections keeps refusing them.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

_FIRST: Final = 20_000
"""Ray's workers take the 10,000 ports below, and Ray refuses one of them for its head."""
_COUNT: Final = 2_700
"""A node of a Redis cluster also listens 10,000 above its port, which is neither in this range nor a client's."""
_LOCKS: Final = Path(tempfile.gettempdir()) / f"feature-service-test-ports-{os.getuid()}"
_held: list[int] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other test process is given while this one lives."""
    _LOCKS.mkdir(exist_ok=True)
    begin = os.getpid() * 37 + len(_held)
    for number in range(_COUNT):
        port = _FIRST + (begin + number) % _COUNT
        if _is_free(port) and _reserve(port):
            return port
    raise AssertionError(f"port: must be free from {_FIRST} to {_FIRST + _COUNT - 1}, was none")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    """Whether the port is this process's now; the lock is released when the process ends."""
    descriptor = os.open(_LOCKS / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _held.append(descriptor)
    return True
