"""A message of a stream with faults in it, as it comes, and what is true of it.

What comes is told apart from what is true: a delivered message knows of which numbering of the book it is, whether it
was delivered before, and what it would have said before it was damaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Delivered:
    """A message as it comes. said: what it states, None where that is lost with no trace of its topic.

    epoch: how often the exchange began to number the book anew before it. market: 0, or the
    number of another of the same name. is_again: whether it came before.
    is_unusable: whether nobody can know what it says.
    """

    recv_ns: int
    body: bytes
    said: dict[str, Any] | None
    epoch: int = 0
    market: int = 0
    is_again: bool = False
    is_unusable: bool = False

    @property
    def topic(self) -> str:
        return "" if self.said is None else str(self.said["topic"]).partition(".")[0]


def levels_of(data: dict[str, Any]) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    """Bids and asks that a message states."""
    bids, asks = ([(Decimal(price), Decimal(quantity)) for price, quantity in data[side]] for side in "ba")
    return bids, asks


def numbers_of(topic: str, data: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401  # JSON
    """Where the numbers of a message's data are: what holds each, and its name or place there."""
    match topic:
        case "orderbook":
            return [(level, at) for side in "ba" for level in data[side] for at in (0, 1)]
        case "publicTrade":
            return [(trade, name) for trade in data for name in ("p", "v")]
        case "tickers":
            return [(data, name) for name in ("markPrice", "indexPrice", "openInterest") if data.get(name)]
        case _:
            return []
