"""What every source yields: the exact bytes of a message and when they were first had."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """One message as it came: ``recv_ns`` is when the system first had it, ``body`` its bytes, unchanged."""

    recv_ns: int
    body: bytes
