"""What a message says of itself although it may be unusable."""

from __future__ import annotations

from typing import NamedTuple


class Stated(NamedTuple):
    """stream: the topic without its symbol.

    kind: of ``market.events``, of what is missed where the message cannot be used; None where nothing is.
    """

    symbol: str
    stream: str
    kind: int | None
