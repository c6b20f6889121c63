"""The merged ticker: each field as last sent, because a delta leaves out what has not changed.

A field is remembered for MEMORY_NS. Ingest states the merged ticker on the tape again before that has passed, as
long as tickers arrive, so a field that never changes is known for ever and a row still looks back an hour alone.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from market.clock import HOUR_NS
from market.events import (
    FUNDING_RATE,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN_INTEREST,
    TICKER_FIELD_COUNT,
    UNKNOWN,
)
from transforms.jit import jit

MEMORY_NS: Final = HOUR_NS
"""A field that was neither sent nor restated for so long is unknown."""


class Ticker(NamedTuple):
    """Last known fields as mantissas; UNKNOWN for one not stated within MEMORY_NS, or stated to be unknown."""

    funding_rate: int
    next_funding_ns: int
    open_interest: int
    mark_px: int
    index_px: int


@jit
def apply_ticker_record(ticker: Any, record: Any) -> None:
    """Remember one field."""
    if record.field < TICKER_FIELD_COUNT:
        ticker.value[record.field] = record.px
        ticker.recv_ns[record.field] = record.recv_ns


@jit
def forget_ticker(ticker: Any) -> None:
    """Know no field any more: messages may have been missed, and what they left out is not what is kept."""
    for field in range(TICKER_FIELD_COUNT):
        ticker.value[field] = UNKNOWN


@jit
def is_ticker_known(ticker: Any, row_ns: int) -> bool:
    """Whether every field is known at the row; a next funding time that is past is not the next one."""
    is_known = remembered(ticker, NEXT_FUNDING, row_ns, MEMORY_NS) >= row_ns
    for field in range(TICKER_FIELD_COUNT):
        if remembered(ticker, field, row_ns, MEMORY_NS) == UNKNOWN:
            is_known = False
    return is_known


@jit
def merged_ticker(ticker: Any, row_ns: int) -> Ticker:
    """The ticker as known at the row."""
    return Ticker(
        remembered(ticker, FUNDING_RATE, row_ns, MEMORY_NS),
        remembered(ticker, NEXT_FUNDING, row_ns, MEMORY_NS),
        remembered(ticker, OPEN_INTEREST, row_ns, MEMORY_NS),
        remembered(ticker, MARK_PRICE, row_ns, MEMORY_NS),
        remembered(ticker, INDEX_PRICE, row_ns, MEMORY_NS),
    )


@jit
def remembered(fields: Any, field: int, row_ns: int, memory_ns: int) -> int:
    """One field as known at the row, UNKNOWN when not stated within ``memory_ns``."""
    if fields.recv_ns[field] >= row_ns - memory_ns:
        return fields.value[field]
    return UNKNOWN
