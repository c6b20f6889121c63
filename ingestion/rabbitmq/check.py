"""Whether a message broker answers: its greeting, without an account and without keeping a connection."""

from __future__ import annotations

import socket
from typing import Final

from market.errors import StoreUnavailable

TIMEOUT_S: Final = 1.0
_HEADER: Final = b"AMQP\x00\x00\x09\x01"
# A method frame (type 1) on channel 0, its length, then connection.start (class 10, method 10).
_START: Final = (b"\x01\x00\x00", b"\x00\x0a\x00\x0a")


def check_broker(host: str, port: int) -> None:
    """Raises StoreUnavailable when nothing there greets as AMQP 0-9-1 asks a server to."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(_HEADER)
            greeting = b""
            while len(greeting) < 11 and (more := connection.recv(11 - len(greeting))):
                greeting += more
    except OSError as error:
        raise StoreUnavailable(f"rabbitmq {host}:{port}: must answer, was {error}") from error
    if (greeting[:3], greeting[7:]) != _START:
        raise StoreUnavailable(f"rabbitmq {host}:{port}: must speak AMQP 0-9-1, answered {greeting!r}")
