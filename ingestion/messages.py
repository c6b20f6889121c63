"""What arrives: a message with the time it was received, or a line of a recording that states none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """One message as it came: ``recv_ns`` is when the system first had it, ``body`` its bytes, unchanged."""

    recv_ns: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """One line of a file that states no message; ``line_number`` counts from 1, ``body`` is the line."""

    line_number: int
    reason: str
    body: bytes
