"""A second stream of order books beside the first: of another depth, or of another market of the same name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, Final

SHIFT: Final = Decimal(500)
"""How far its prices lie away: to mix a level of theirs in is seen."""
TIMES: Final = 3
"""So many times as large are quantities of another market."""


@dataclass(frozen=True)
class Numbers:
    """Where a second stream's numbers stand. market: 0 is the first stream's own, at another depth."""

    update_id: int
    epoch: int
    market: int = 0
    seq_shift: int = 0


class Aside:
    """For so many messages of the first: its snapshot, then deltas. depth: 0 is that of the first."""

    def __init__(self, drawn: Random, numbers: Numbers, depth: int = 0, *, shift: Decimal = SHIFT) -> None:
        self._shift = shift
        self._left = drawn.randrange(1, 60)
        self._depth = depth
        self._numbers = numbers
        self._sent = 0
        # A market that was subscribed before its snapshot was lost brings deltas alone for a while.
        self._deltas_first = drawn.choice((0, 0, 1, 3)) if numbers.market else 0

    @property
    def market(self) -> int:
        return self._numbers.market

    @property
    def epoch(self) -> int:
        return self._numbers.epoch

    def beside(self, message: dict[str, Any], whole: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What it brings beside a message of the first, None when it is over. whole: the first's snapshot now."""
        if self._left == 0:
            return None
        is_whole = self._sent == self._deltas_first
        data = whole()["data"] if is_whole else message["data"]
        sides = {side: [self._moved(*level) for level in data[side]] for side in ("b", "a")}
        _, depth, symbol = message["topic"].split(".")
        said = {
            **message,
            "topic": f"orderbook.{self._depth or depth}.{symbol}",
            "type": "snapshot" if is_whole else "delta",
            "data": {**data, **sides, "u": self._numbers.update_id + self._sent},
        }
        if "seq" in data:
            said["data"]["seq"] = data["seq"] + self._numbers.seq_shift
        self._sent += 1
        self._left -= 1
        return said

    def _moved(self, price: str, quantity: str) -> list[str]:
        times = TIMES if self.market else 1
        return [f"{Decimal(price) + self._shift:f}", f"{times * Decimal(quantity):f}"]
