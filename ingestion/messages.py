"""What arrives: a message with the time it was received, or a line of a recording that states none."""

from __future__ import annotations

from dataclasses import dataclass

from market.clock import MINUTE_NS


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
    recv_ns: int | None = None
    """The receive time that the line states all the same."""

    def time_after(self, last_ns: int) -> int:
        """When it was received, if the message before it was at ``last_ns``: as it states, unless that cannot be."""
        if self.recv_ns is None or not 0 <= self.recv_ns - last_ns <= MINUTE_NS:
            return last_ns
        return self.recv_ns
