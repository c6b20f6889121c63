"""The watermark: up to when every stream has told what it had, so that the rows before it can close.

1. A stream that keeps up is believed to have shown everything up to ``now - grace``, and whatever it showed itself.
2. A stream with a known backlog is believed up to the last ``recv_ns`` that it showed: its rows wait for it, and the
   backlog is computed on its own time.
3. Where no backlog is reported, deliveries show it: while they come one upon the other and are older than a message on
   its way can be, the stream is working through one.
4. The watermark is the least of all streams, never ahead of the clock, whatever clock stamped the messages, and never
   moves back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from market.clock import MILLISECOND_NS

GRACE_NS: Final = 10 * MILLISECOND_NS
"""How long after its boundary a row waits for messages still on their way."""
OLD_NS: Final = 250 * MILLISECOND_NS
"""A message that is delivered later than this after it was received comes out of a backlog."""
SILENCE_NS: Final = 100 * MILLISECOND_NS
"""A backlog is delivered without a pause: after this much of it there is none."""


@dataclass(slots=True)
class _Stream:
    shown_ns: int = 0
    delivered_ns: int = 0
    delay_ns: int = 0


class Watermark:
    """What the streams have shown, by name; time comes with each call."""

    def __init__(self, streams: Sequence[str]) -> None:
        self._streams = {name: _Stream() for name in streams}
        self._reached_ns = 0

    def show(self, stream: str, recv_ns: int, *, now_ns: int) -> None:
        """The stream has delivered a message that was received at ``recv_ns``."""
        seen = self._streams.get(stream)
        if seen is None:
            seen = self._streams[stream] = _Stream()
        seen.shown_ns = max(seen.shown_ns, recv_ns)
        seen.delivered_ns = now_ns
        seen.delay_ns = now_ns - recv_ns

    def is_behind(self, stream: str, *, now_ns: int) -> bool:
        """Whether the stream's own deliveries tell of a backlog."""
        seen = self._streams.get(stream)
        return seen is not None and seen.delay_ns > OLD_NS and now_ns - seen.delivered_ns < SILENCE_NS

    def shown_ns(self) -> int:
        """The latest receive time that any stream has shown; 0 before the first."""
        return max((seen.shown_ns for seen in self._streams.values()), default=0)

    def advance(self, now_ns: int, *, waiting: Sequence[str] = ()) -> int:
        """The watermark at ``now_ns``; ``waiting`` names the streams whose backlog is known."""
        least_ns = now_ns - GRACE_NS if not self._streams else None
        for name, seen in self._streams.items():
            told_ns = seen.shown_ns
            if name not in waiting and not self.is_behind(name, now_ns=now_ns):
                told_ns = max(told_ns, now_ns - GRACE_NS)
            least_ns = told_ns if least_ns is None else min(least_ns, told_ns)
        assert least_ns is not None
        self._reached_ns = max(self._reached_ns, min(least_ns, now_ns))
        return self._reached_ns
