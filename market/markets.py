"""Markets: a venue and its category, within which a symbol means one instrument."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_TEXT: Final = re.compile(r"([a-z0-9_-]{1,40}) ([a-z0-9_-]{1,40})")


@dataclass(frozen=True, slots=True)
class Market:
    """A part of a venue: BTCUSDT of ``bybit linear`` and of ``bybit spot`` are two instruments with one name."""

    venue: str
    category: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The market that ``str`` of it says. Raises ValueError."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"must be a venue and a category, as in {DEFAULT_MARKET}")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{self.venue} {self.category}"


DEFAULT_MARKET: Final = Market("bybit", "linear")
"""Of everything that names no market: tapes written before they did, and settings that say nothing else."""
