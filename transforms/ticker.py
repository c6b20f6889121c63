"""The merged ticker: each field as last sent, because a delta leaves out what has not changed."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from market.clock import DAY_NS
from market.events import (
    FUNDING_RATE,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN_INTEREST,
    TICKER_FIELD_COUNT,
)
from transforms.jit import jit
from transforms.state import UNKNOWN

MEMORY_NS: Final = DAY_NS
"""A field not sent for a day is unknown: the next funding time, the rarest, changes at least every eight hours."""


class Ticker(NamedTuple):
    """Last known fields as mantissas; UNKNOWN for one not seen within MEMORY_NS."""

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
def merged_ticker(ticker: Any, row_ns: int) -> Ticker:
    """The ticker as known at the row."""
    return Ticker(
        remembered(ticker, FUNDING_RATE, row_ns),
        remembered(ticker, NEXT_FUNDING, row_ns),
        remembered(ticker, OPEN_INTEREST, row_ns),
        remembered(ticker, MARK_PRICE, row_ns),
        remembered(ticker, INDEX_PRICE, row_ns),
    )


@jit
def remembered(fields: Any, field: int, row_ns: int) -> int:
    """One field as known at the row, UNKNOWN when not seen within MEMORY_NS."""
    if fields.recv_ns[field] >= row_ns - MEMORY_NS:
        return fields.value[field]
    return UNKNOWN
