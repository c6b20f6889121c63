"""Book parts: a symbol's order book messages, part by part; what a whole part says of their sequence is kept.

A part never changes. What is kept of one is identified by the hashes of its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from market.events import CONTROL, ORDERBOOK
from quality.book_runs import BookRuns, book_runs
from storage.raw.events import period_parts, stream_heads
from storage.raw.raw_data import RawData
from storage.raw.streams import LIVE_STREAM, stream_of
from storage.raw.tables import TABLES
from training_sets.last_used import LastUsed
from transforms.tape_order import joined

MOST_PARTS: Final = 8_192
MOST_OF_PART: Final = 256
"""A part of which more is left is not kept: every break of the sequence leaves two records."""
_TABLES: Final = {table for table, kind in TABLES if kind in {CONTROL, ORDERBOOK}}
_FIELDS: Final = ("seq", "recv_ns", "update_id", "flags")


class KnownBookParts(LastUsed[tuple[str, ...], BookRuns]):
    """The last MOST_PARTS parts that a process has read, by symbol and the hashes of their files."""

    def __init__(self) -> None:
        super().__init__(MOST_PARTS)

    def keep(self, key: tuple[str, ...], runs: BookRuns) -> None:
        """Keep what a part says, unless it is much."""
        if len(runs.records) <= MOST_OF_PART:
            super().keep(key, runs)


def stream_book_runs(
    raw: RawData, symbol: str, known: KnownBookParts, *, from_ns: int, to_ns: int
) -> Iterator[BookRuns]:
    """The runs of the messages that came in [from_ns, to_ns), in tape order; a part that is known is not read.

    Raises CorruptStore, InvalidRequest when the symbol cannot name a folder.
    """
    parts = period_parts(raw, symbol, from_ns=from_ns, to_ns=to_ns)
    files = {part.name: tuple(file.sha256 for file in part.files if file.table in _TABLES) for part in parts}
    of_book = [part for part in parts if files[part.name]]
    if any(stream_of(part.first_seq) != LIVE_STREAM for part in of_book):
        # Messages that were backfilled stand between live ones, which one part does not tell.
        for heads in stream_heads(
            raw, symbol, kinds=(ORDERBOOK,), from_ns=from_ns, to_ns=to_ns, fields=_FIELDS, parts=of_book
        ):
            yield book_runs(heads)
        return
    for part in of_book:
        is_whole = from_ns <= part.first_ns and part.last_ns < to_ns
        key = (symbol, *files[part.name])
        runs = known.get(key) if is_whole else None
        if runs is None:
            pieces = stream_heads(
                raw, symbol, kinds=(ORDERBOOK,), from_ns=from_ns, to_ns=to_ns, fields=_FIELDS, parts=[part]
            )
            runs = book_runs(joined(list(pieces)))
            if is_whole:
                known.keep(key, runs)
        yield runs
