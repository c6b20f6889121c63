"""Published: what raw Parquet says of a symbol to who goes on with its tape, its last seq, its market and its scale.

While the object store of raw Parquet is away:

1. A tape of this machine says what is needed: its segment log has every seq that was given, its segments its market.
   But not one that ends long before a row that was served: another machine has gone on with the symbol since.
2. A symbol without one is new where raw Parquet had no part of it when it was last looked at, in this process.
3. Of any other nothing can be said: another seq or scale than the one published would part its history in two. Who asks
   waits until the store answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from market.clock import MINUTE_NS, format_iso
from market.errors import StoreUnavailable
from market.instruments import Instrument
from market.markets import Market
from storage.objects.path import ObjectPath
from storage.objects.reach import Reach
from storage.outages import Outage
from storage.places import Place
from storage.raw.manifest import check_market, known_last_seqs, stated_scale

Answer = TypeVar("Answer")

WAIT_S: Final = 0.5
BEHIND_NS: Final = MINUTE_NS
"""A tape that ends so long before the newest row is not the one that the row came from. A market that is silent for so
long while its worker serves rows is an alert of its own, and waits too."""
_NOTHING: Final = "has no tape or no scale on this machine, and what was published of it is not known"
_log = logging.getLogger(__name__)


class Published:
    """Of one place, for one process. ``look`` first: what a store says then holds while it is away."""

    def __init__(self, place: Place, *, newest_row_ns: Callable[[str], int | None] = lambda _symbol: None) -> None:
        """newest_row_ns: of a symbol, that readers were given; None where nobody can say."""
        self._newest_row_ns = newest_row_ns
        self.waits_for: str | None = None
        """The symbol that is waited for now."""
        self.has_given_up = False
        """Whether ``close`` ended the waiting."""
        self._place = place
        self._known: frozenset[str] | None = None
        self._is_over = threading.Event()
        self._reach: Reach | None = None
        if isinstance(place, ObjectPath):
            meanwhile = "tapes go on by what they say themselves"
            self._reach = Reach(place, Outage(_log, "the object store of raw Parquet", meanwhile=meanwhile))

    @property
    def is_away(self) -> bool:
        """Whether the object store did not answer when it was asked last."""
        return self._reach is not None and self._reach.is_away

    def look(self) -> None:
        """Remember which symbols have parts, unless the store is away."""
        if self._reach is None:
            return
        try:
            folders = self._reach.asked(lambda: list((self._place / "manifest").glob("symbol=*")))
        except StoreUnavailable:
            return
        self._known = frozenset(folder.name.removeprefix("symbol=") for folder in folders)

    def next_seq(self, symbol: str, market: Market, *, has_tape: bool, tape_ends_ns: int | None = None) -> int:
        """The least seq that no live part has; 0 or 1 also where the tape of this machine is to say.

        tape_ends_ns: the last stamp on that tape, where it is known. Waits where nobody knows. Raises Conflict where
        the parts are of another market, StoreUnavailable once ``close`` was called.
        """

        def ask() -> int:
            check_market(self._place, symbol, market)
            return max(known_last_seqs(self._place, symbol), default=0) + 1

        return self._asked(symbol, ask, 0, unknown=lambda: self._unknown_seq(symbol, tape_ends_ns, has_tape=has_tape))

    def scale(self, symbol: str, *, is_pinned: bool) -> Instrument | None:
        """The scale that its parts state; None without one, or where it is pinned here. As ``next_seq``."""
        return self._asked(
            symbol, lambda: stated_scale(self._place, symbol), None, unknown=lambda: None if is_pinned else _NOTHING
        )

    def close(self) -> None:
        """Wait no more; from any thread."""
        self._is_over.set()
        if self._reach is not None:
            self._reach.close()

    def _unknown_seq(self, symbol: str, tape_ends_ns: int | None, *, has_tape: bool) -> str | None:
        if not has_tape:
            return _NOTHING
        row_ns = None if tape_ends_ns is None else self._newest_row_ns(symbol)
        if tape_ends_ns is None or row_ns is None or row_ns - tape_ends_ns <= BEHIND_NS:
            return None
        return (
            f"its tape on this machine ends at {format_iso(tape_ends_ns)}, and rows up to {format_iso(row_ns)} were "
            "served: another machine has gone on with it, under seqs that are not known here"
        )

    def _asked(
        self, symbol: str, ask: Callable[[], Answer], otherwise: Answer, *, unknown: Callable[[], str | None]
    ) -> Answer:
        """unknown: why this machine does not know the answer while the store is away; None where it does."""
        if self._reach is None:
            return ask()
        try:
            while True:
                try:
                    return self._reach.asked(ask)
                except StoreUnavailable:
                    why = unknown()
                    if why is None or (why == _NOTHING and self._known is not None and symbol not in self._known):
                        return otherwise
                    if self._is_over.wait(WAIT_S):
                        self.has_given_up = True
                        raise
                    self._wait(symbol, why)
        finally:
            self.waits_for = None

    def _wait(self, symbol: str, why: str) -> None:
        if self.waits_for is None:
            self.waits_for = symbol
            _log.warning("%s: %s: ingest waits for the object store of raw Parquet", symbol, why)
