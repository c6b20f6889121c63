"""What is asked for: a symbol's days and data types, checked before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from ingestion.decoding.decoded import SYMBOL
from market.clock import DAY_NS, MILLISECOND_NS, utc_date
from market.errors import InvalidRequest
from market.events import KLINE, ORDERBOOK, TICKER, TRADE

DATA_TYPES: Final[Mapping[str, str]] = {
    "klines": "klines",
    "kline": "klines",
    "trades": "trades",
    "orderbook": "orderbook",
    "orderbook_snapshots": "orderbook",
    "orderbook_deltas": "orderbook",
    "ticker": "ticker",
    "funding": "funding",
}
"""Data types by every name that a request may give them, raw tables' and input sources'."""
OF_KIND: Final[Mapping[int, tuple[str, ...]]] = {
    # Candles first: their prices pin the scale of a new symbol.
    KLINE: ("klines",),
    TRADE: ("trades",),
    ORDERBOOK: ("orderbook",),
    TICKER: ("ticker", "funding"),
}
"""What a feature set needs, by the kind of record that it reads."""
OF_CONTRACTS: Final = frozenset({"ticker", "funding"})
"""Spot has no mark price, no open interest and no funding."""
FROM_ARCHIVE: Final = frozenset({"trades", "orderbook"})
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A symbol's UTC days, both ends included, and the data types, each once."""

    symbol: str
    start: date
    end: date
    data_types: tuple[str, ...]

    @property
    def dates(self) -> list[str]:
        """Every day, oldest first."""
        days = (self.end - self.start).days + 1
        return [(self.start + timedelta(days=at)).isoformat() for at in range(days)]


def data_types_of_kinds(kinds: Collection[int], category: str) -> tuple[str, ...]:
    """The data types that the kinds of record of a feature set come from, as far as the category has them."""
    found = (data_type for kind, found in OF_KIND.items() if kind in kinds for data_type in found)
    return tuple(data_type for data_type in found if category != "spot" or data_type not in OF_CONTRACTS)


def checked_data_types(names: Sequence[str]) -> tuple[str, ...]:
    """The data types of these names, each once. Raises InvalidRequest."""
    unknown = [name for name in names if name not in DATA_TYPES]
    if unknown or not names:
        raise InvalidRequest(f"data_types: must be one or more of {', '.join(DATA_TYPES)}, was {unknown or 'none'}")
    wanted = {DATA_TYPES[name] for name in names}
    return tuple(data_type for found in OF_KIND.values() for data_type in found if data_type in wanted)


def check_request(request: BackfillRequest, *, most_days: int, now_ns: int) -> None:
    """Raises InvalidRequest, saying what is possible: wrong symbol, order of dates, days to come, too many days."""
    today = date.fromisoformat(utc_date(now_ns))
    if SYMBOL.fullmatch(request.symbol) is None:
        raise InvalidRequest(f"symbol: must be an instrument of the exchange, such as BTCUSDT, was {request.symbol!r}")
    possible = f"up to {most_days} days that end on {today} or earlier are possible"
    if request.start > request.end:
        raise InvalidRequest(
            f"start_date: must not be after end_date, was {request.start} after {request.end}; {possible}"
        )
    if request.end > today:
        raise InvalidRequest(f"end_date: must not be after today, {today}, was {request.end}; {possible}")
    days = (request.end - request.start).days + 1
    if days > most_days:
        raise InvalidRequest(
            f"backfill: must be at most {most_days} days (FEATURE_SERVICE_BACKFILL_MAX_DAYS), was {days}; for one "
            f"that ends on {request.end} start_date can be {request.end - timedelta(days=most_days - 1)} or later"
        )


def check_category(request: BackfillRequest, category: str) -> None:
    """Raises InvalidRequest for a data type that the category does not have."""
    strange = [data_type for data_type in request.data_types if category == "spot" and data_type in OF_CONTRACTS]
    if strange:
        raise InvalidRequest(f"data_types: must be klines, trades or orderbook of spot, was {', '.join(strange)}")


def check_listed(request: BackfillRequest, launched_ms: int, ended_ms: int | None) -> None:
    """Raises InvalidRequest for a period in which the instrument was never listed; one that reaches into it is fine."""
    launched = date.fromisoformat(utc_date(launched_ms * MILLISECOND_NS))
    if request.end < launched:
        raise InvalidRequest(
            f"end_date: must be {launched} or later, when {request.symbol} was listed, was {request.end}"
        )
    if ended_ms is None:
        return
    ended = date.fromisoformat(utc_date(ended_ms * MILLISECOND_NS))
    if request.start > ended:
        raise InvalidRequest(
            f"start_date: must be {ended} or earlier, when {request.symbol} was traded last, was {request.start}"
        )


def parse_date(text: str, thing: str) -> date:
    """A date as YYYY-MM-DD. Raises InvalidRequest, naming ``thing``."""
    try:
        if _DATE.fullmatch(text) is None:
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{thing}: must be a date YYYY-MM-DD, was {text[:40]!r}") from error


def last_days(symbol: str, days: int, data_types: tuple[str, ...], now_ns: int) -> BackfillRequest:
    """The last days up to today, or up to yesterday where archives are read, which have no file of today."""
    last_ns = now_ns - DAY_NS if FROM_ARCHIVE.intersection(data_types) else now_ns
    end = date.fromisoformat(utc_date(last_ns))
    return BackfillRequest(symbol, end - timedelta(days=days - 1), end, data_types)
