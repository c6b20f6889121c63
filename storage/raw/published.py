"""Published: what raw Parquet says of a symbol to who goes on with its tape, its last seq, its market and its scale.

While the object store of raw Parquet is away:

1. A tape of this machine says what is needed: its segment log has every seq that was given, its segments its market.
2. A symbol without one is new where raw Parquet had no part of it when it was last looked at, in this process.
3. Of any other nothing can be said: another seq or scale than the one published would part its history in two. Who asks
   waits until the store answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, TypeVar

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
_log = logging.getLogger(__name__)


class Published:
    """Of one place, for one process. ``look`` first: what a store says then holds while it is away."""

    def __init__(self, place: Place) -> None:
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

    def next_seq(self, symbol: str, market: Market, *, has_tape: bool) -> int:
        """The least seq that no live part has; 0 or 1 also where the tape of this machine is to say.

        Waits where nobody knows. Raises Conflict where the parts are of another market, StoreUnavailable once ``close``
        was called.
        """

        def ask() -> int:
            check_market(self._place, symbol, market)
            return max(known_last_seqs(self._place, symbol), default=0) + 1

        return self._asked(symbol, ask, 0, is_known=has_tape)

    def scale(self, symbol: str, *, is_pinned: bool) -> Instrument | None:
        """The scale that its parts state; None without one, or where it is pinned here. As ``next_seq``."""
        return self._asked(symbol, lambda: stated_scale(self._place, symbol), None, is_known=is_pinned)

    def close(self) -> None:
        """Wait no more; from any thread."""
        self._is_over.set()
        if self._reach is not None:
            self._reach.close()

    def _asked(self, symbol: str, ask: Callable[[], Answer], otherwise: Answer, *, is_known: bool) -> Answer:
        if self._reach is None:
            return ask()
        try:
            while True:
                try:
                    return self._reach.asked(ask)
                except StoreUnavailable:
                    if is_known or (self._known is not None and symbol not in self._known):
                        return otherwise
                    if self._is_over.wait(WAIT_S):
                        self.has_given_up = True
                        raise
                    self._wait(symbol)
        finally:
            self.waits_for = None

    def _wait(self, symbol: str) -> None:
        if self.waits_for is None:
            self.waits_for = symbol
            _log.warning(
                "%s: has no tape or no scale on this machine, and what was published of it is not known: ingest waits "
                "for the object store of raw Parquet",
                symbol,
            )
