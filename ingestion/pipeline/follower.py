"""A follower: an engine next to a lane's own that takes the same records and whose rows are not served.

It is how an engine of another version comes to stand where the lane's stands, and how the one before stays ready to
take its place again. The lane's thread gives the records; any one thread at a time closes rows.
"""

from __future__ import annotations

from collections import deque

from market.events import Events
from market.instruments import Instrument
from transforms.engine import Engine
from transforms.rows import FeatureRows


class Follower:
    """The engine, once there is one, and the records that it has not taken yet."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine
        self._records: deque[Events] = deque()

    @property
    def has_begun(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine; there must be one."""
        assert self._engine is not None
        return self._engine

    def begin(self, engine: Engine) -> None:
        """Go on with an engine that has everything from before the first record."""
        self._engine = engine

    def take(self, records: Events) -> None:
        """Keep records of the lane until the engine takes them."""
        self._records.append(records)

    def pin(self, instrument: Instrument) -> None:
        """Take the symbol's scale, which no message needed before."""
        if self._engine is not None:
            self._engine.pin(instrument)

    def close(self, until_ns: int | None) -> FeatureRows:
        """Close the rows up to what the lane had closed before this was called.

        What the engine raises is raised, and it is of no use afterwards.
        """
        while self._records:
            self.engine.feed(self._records.popleft())
        return self.engine.advance(0 if until_ns is None else until_ns)
