"""The sequence of an order book's messages, as event records state it for every venue.

1. Each message brings the updates ``first_id`` to ``last_id`` of its stream. It follows on what is known when the next
   update is among them; when all of them are known it is repeated; when they begin later there is a gap.
2. A message that replaces the book may stand anywhere. So does one whose update is RESTART_ID, whatever it says.

A venue translates its own numbers into these, once. The compiled order book applies the same to records, whose ids are
consecutive: ``transforms.order_book`` is part of the features' identity and says it in its own words.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from market.events import ORDERBOOK, SNAPSHOT, Events

RESTART_ID: Final = 1
"""The update with which the numbering of an order book begins again: it replaces the book, whatever its flags."""


class Step(Enum):
    """What a message that does not replace the book is to one that stands at an update."""

    FOLLOWS = "follows"
    REPEATED = "repeated"
    GAP = "gap"


class BookPlace(NamedTuple):
    """Where an order book message stands in its stream.

    depth: levels a side of the stream; each depth has ids of its own. seq: a number that rises over restarts and depths
    too, None where the venue has none.
    """

    first_id: int
    last_id: int
    depth: int
    replaces: bool = False
    seq: int | None = None


def step_after(known_id: int, first_id: int, last_id: int) -> Step:
    """What the updates ``first_id`` to ``last_id`` are to a book that stands at ``known_id``."""
    if last_id <= known_id:
        return Step.REPEATED
    return Step.FOLLOWS if first_id <= known_id + 1 else Step.GAP


def replacing(records: Events) -> npt.NDArray[np.bool_]:
    """Which records are of messages that replace the order book; bool (n,)."""
    is_replacing = ((records["flags"] & SNAPSHOT) != 0) | (records["update_id"] == RESTART_ID)
    found: npt.NDArray[np.bool_] = (records["kind"] == ORDERBOOK) & is_replacing
    return found
