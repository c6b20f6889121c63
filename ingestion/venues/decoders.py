"""Decoders by date: which decoder reads the messages received on a UTC day.

1. Where the exchange or the gateway changes a format, DECODERS gets a decoder from the first day that has it; the days
   before are read as they always were.
2. Where a decoder read its days wrongly, its entry gets another decoder under a higher version: the next compaction
   makes the parts of those days anew, and of no others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ingestion.venues.bybit.decode import DecodedMessage, Decoder, Instruments
from market.clock import DAY_NS, parse_iso_ns


class MessageDecoder(Protocol):
    """Reads messages; raises RejectedMessage, and returns None for one without market data."""

    def decode(self, body: bytes) -> DecodedMessage | None: ...


@dataclass(frozen=True, slots=True)
class DatedDecoder:
    """A decoder from a UTC date on. version: higher than that of everything made before it."""

    from_date: str
    version: int
    make: Callable[[Instruments], MessageDecoder]


DECODERS: Final = (
    # 2: funding has a table of its own
    DatedDecoder("1970-01-01", 2, Decoder),
)
"""By date, the first from the beginning of time."""


class Decoders:
    """Decodes each message as those of its day are read."""

    def __init__(self, instruments: Instruments, dated: Sequence[DatedDecoder] = DECODERS) -> None:
        self._from_ns = [parse_iso_ns(each.from_date) for each in dated]
        assert self._from_ns[:1] == [0], "the first decoder reads from the beginning"
        assert self._from_ns == sorted(set(self._from_ns)), "decoders stand by date, one a date"
        self._versions = [each.version for each in dated]
        self._decoders = [each.make(instruments) for each in dated]

    def decode(self, body: bytes, recv_ns: int) -> DecodedMessage | None:
        """The records of a message received at ``recv_ns``; see ``Decoder.decode``."""
        return self._decoders[bisect_right(self._from_ns, recv_ns) - 1].decode(body)

    def segment_version(self, day: int) -> int:
        """The version of what reads a tape's segment of a UTC day: it may hold messages of the day before too."""
        dated = [bisect_right(self._from_ns, at_ns) - 1 for at_ns in ((day - 1) * DAY_NS, day * DAY_NS)]
        return max(self._versions[max(at, 0)] for at in dated)
