"""A batch: what compiled code read of many messages in one call, in the order in which they came."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

TOPIC, FIRST, COUNT, EVENT_NS, UPDATE_ID, SEQ, REPLACES, EVENT_ID, EVENT_ID_END, TRACE_ID, TRACE_ID_END = range(11)
COLUMNS: Final = 11
"""Of a message: its topic, -1 where it was declined; its first record and how many it has; its time; of an order book's
its update, its ``seq``, -1 for none, and whether it replaces the book; where its ids are, -1 for none."""


class Topic(NamedTuple):
    """What is known of a topic's messages. depth: levels a side, of an order book."""

    text: str
    symbol: str
    kind: int
    depth: int


class Batch(NamedTuple):
    """Messages as event records, not stamped.

    text: their bytes, one after the other; ends (n + 1,): where each begins, and the end. rows (n, COLUMNS): see above.
    words (m, 7): the records, as EVENT lies in memory. ids (m, 2): where in the text the exchange's id of each trade
    is, -1 for none. The last two are read into again by the next batch.
    """

    text: bytes
    ends: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    topics: list[Topic]
    words: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]

    def ids_of(self, row: list[int]) -> list[str | None]:
        """The ids of a message's trades."""
        first = row[FIRST]
        return [
            None if at < 0 else self.text[at:end].decode() for at, end in self.ids[first : first + row[COUNT]].tolist()
        ]

    def fields_of(self, row: list[int]) -> list[tuple[int, int]]:
        """Field and value of each of a message's records."""
        first = row[FIRST]
        return [(tail >> 8 & 0xFF, px) for px, _, tail in self.words[first : first + row[COUNT], 4:].tolist()]

    def part(self, row: list[int], column: int) -> str | None:
        """An id of a message."""
        at = row[column]
        return None if at < 0 else self.text[at : row[column + 1]].decode()
