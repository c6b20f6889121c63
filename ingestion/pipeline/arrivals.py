"""Arrivals: messages of one symbol that came late or again, counted by kind until the minute ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from ingestion.decoding.own import arrivals_message
from ingestion.decoding.wire import CountedKind, KindArrivals
from market.clock import MINUTE_NS, floor_to
from market.events import ARRIVALS, CONTROL, KIND_NAMES

OWN_KINDS: Final = (CONTROL, ARRIVALS)
"""What the service itself says on a tape; a tape that is played brings it again."""


class Arrivals:
    """What the tape does not show of its messages: that one was raised to a later time, or left out.

    late: messages, in all. repeated: messages that the tape held already, and trades that came again in another one.
    """

    def __init__(self) -> None:
        self.late = 0
        self.repeated = 0
        self._by_kind: dict[int, list[int]] = {}  # late, greatest lateness ns, repeated
        self._minute_ns: int | None = None  # that they are of

    def note(self, kind: int, recv_ns: int, stamped_ns: int) -> None:
        """A message that came at ``recv_ns`` goes to the tape as of ``stamped_ns``."""
        if stamped_ns == recv_ns:
            return
        self.late += 1
        counts = self._of(kind, recv_ns)
        counts[0] += 1
        counts[1] = max(counts[1], stamped_ns - recv_ns)

    def note_repeated(self, kind: int, recv_ns: int, count: int = 1) -> None:
        """A message, or ``count`` trades of one, came again."""
        self.repeated += count
        self._of(kind, recv_ns)[2] += count

    def tell(
        self, log: Callable[[bytes, int], object], symbol: str, recv_ns: int, *, ended_ns: int | None = None
    ) -> None:
        """Have the message for the tape logged as of ``recv_ns`` that says what was counted, which is forgotten.

        Where something was; ended_ns: not before its minute has ended by then.
        """
        minute_ns = self._minute_ns
        if minute_ns is None or (ended_ns is not None and ended_ns < minute_ns + MINUTE_NS):
            return
        counted = [
            KindArrivals(kind=cast("CountedKind", KIND_NAMES[kind]), late=late, most_late_ns=most_ns, repeated=repeated)
            for kind, (late, most_ns, repeated) in sorted(self._by_kind.items())
            if kind not in OWN_KINDS
        ]
        self._by_kind, self._minute_ns = {}, None
        if counted:
            log(arrivals_message(symbol, minute_ns, counted), recv_ns)

    def _of(self, kind: int, recv_ns: int) -> list[int]:
        if self._minute_ns is None:
            self._minute_ns = floor_to(recv_ns, MINUTE_NS)
        return self._by_kind.setdefault(kind, [0, 0, 0])
