"""Bybit as the service knows it."""

from __future__ import annotations

from typing import Final

from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.sequence import may_replace_book
from ingestion.venues.bybit.topics import stated
from ingestion.venues.venue import DatedDecoder, Venue

BYBIT: Final = Venue(
    name="bybit",
    categories=("linear", "spot", "inverse"),
    decoders=(
        # 2: funding has a table of its own
        DatedDecoder("1970-01-01", 2, Decoder),
    ),
    stated=stated,
    may_replace_book=may_replace_book,
)
