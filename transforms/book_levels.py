"""The levels of an engine's order book, as the engine holds them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transforms.engine import Engine
from transforms.order_book import VALID
from transforms.state import STATE

Levels = npt.NDArray[np.int64]
"""(n, 2): price and quantity of each level in mantissas, best first."""


def book_levels(engine: Engine) -> tuple[Levels, Levels] | None:
    """Bids and asks at the last tick that is closed; None while the book is not known."""
    if engine.book_validity != VALID:
        return None
    book = np.frombuffer(engine.checkpoint(), STATE, count=1)[0]["book"]
    bids, asks = (
        np.stack([side[name][side["first"] : side["end"]][::-1] for name in ("px", "qty")], axis=1)
        for side in (book["bids"], book["asks"])
    )
    return bids, asks
