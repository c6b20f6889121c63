"""How often one symbol's order book was lost and by what, whichever version's engine met it."""

from __future__ import annotations

import logging

from ingestion.pipeline.book_stream import BookStream
from market.clock import SECOND_NS
from transforms.catalogue import GROUPS, group_source
from transforms.declaration import Source
from transforms.engine import Engine
from transforms.rows import FeatureSet

_log = logging.getLogger(__name__)


class BookLosses:
    """Counted from what the engine meets, and from marks on the tape."""

    def __init__(self, engine: Engine) -> None:
        self.crossed_ns: int | None = None
        """The tick at which the order book was last found crossed or locked; None when it never was."""
        self._engine = engine
        self._seen = self._marked = self._crossed = 0
        # What engines before the present one had met more than it has.
        self._before = self._duplicates_before = 0
        self._lost_ns: int | None = None  # when the order book was lost that no snapshot has brought back yet

    @property
    def gaps(self) -> int:
        """How often the order book was lost: its sequence, a restart or a message, or it crossed or overflowed."""
        return self._met + self._marked

    @property
    def duplicates(self) -> int:
        """Changes that the order book had already."""
        return self._duplicates_before + self._engine.book_counters.duplicates

    def change_engine(self, after: Engine) -> None:
        """Count on with another engine."""
        # Not what the one before has met by now: where it failed, that may be more than was told of.
        self._before = self._seen - _breaks_of(after)
        self._crossed = after.book_counters.crossed
        self._duplicates_before += self._engine.book_counters.duplicates - after.book_counters.duplicates
        self._engine = after

    def settle(self) -> None:
        """What the engine met when it was brought to the end of the tape is on the tape."""
        self._seen, self._crossed = self._met, self._engine.book_counters.crossed

    def has_new(self, tick_ns: int) -> bool:
        """Whether the engine lost the book since this was asked last."""
        if self._met == self._seen:
            return False
        self._seen = self._met
        if (crossed := self._engine.book_counters.crossed) != self._crossed:
            self._crossed, self.crossed_ns = crossed, tick_ns
        return True

    def mark(self, recv_ns: int) -> None:
        """It was lost by what no engine has met."""
        self._marked += 1
        self._lost_ns = recv_ns

    def tell(self, book: BookStream, recv_ns: int) -> None:
        """A line of the log: the book lost its sequence, or a snapshot brought it back."""
        symbol, missed = self._engine.instrument.symbol, book.missed
        if not book.is_valid and missed is not None:
            self._lost_ns = recv_ns
            count = missed[1] - missed[0] + 1
            _log.warning("%s orderbook: sequence gap of %d messages, u %d to %d", symbol, count, *missed)
        elif self._lost_ns is not None:
            after_s = (recv_ns - self._lost_ns) / SECOND_NS
            _log.warning("%s orderbook: recovered by a snapshot, %.3f s after it was lost", symbol, after_s)
            self._lost_ns = None

    @property
    def _met(self) -> int:
        return self._before + _breaks_of(self._engine)


def reads_book(feature_set: FeatureSet) -> bool:
    """Whether a group of the set reads the order book."""
    return any(group.name in GROUPS and group_source(group.name) is Source.BOOK for group in feature_set.groups)


def _breaks_of(engine: Engine) -> int:
    counters = engine.book_counters
    return counters.gaps + counters.crossed + counters.overflows
