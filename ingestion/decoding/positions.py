"""Positions: what a position manager states, as event records.

Their numbers are averages and sums with any number of digits: they alone are rounded, half to even, to nine decimals.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import HeldPosition, PositionAnswer, PositionUpdate, read_json
from market.errors import MalformedMessage, ScaleExceeded
from market.events import (
    ENTRY_PRICE,
    POSITION,
    POSITION_SIZE,
    REALIZED_PNL,
    UNREALIZED_PNL,
    Events,
    empty_events,
)
from market.instruments import POSITION_EXPONENT

LARGEST_FIELD: Final = 2**62
# Plain or with an exponent, as programs print a decimal; three digits keep it inside the range of decimal arithmetic.
_DECIMAL: Final = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_SMALLEST_STEP: Final = Decimal(1).scaleb(-POSITION_EXPONENT)
_UPDATE: Final = JsonDecoder(PositionUpdate)
_ANSWER: Final = JsonDecoder(PositionAnswer)


def read_position_update(body: bytes) -> PositionUpdate:
    """A message of the position manager. Raises MalformedMessage."""
    return read_json(_UPDATE, body, "position_updated")


def read_position_answer(body: bytes) -> PositionAnswer:
    """An answer as written on a tape. Raises MalformedMessage."""
    return read_json(_ANSWER, body, "position answer")


def position_update_records(update: PositionUpdate, event_ns: int) -> Events:
    """Records of a position manager's message; it states no entry price, but nothing held has none."""
    stated = {POSITION_SIZE: update.size, UNREALIZED_PNL: update.unrealized_pnl, REALIZED_PNL: update.realized_pnl}
    if update.size and rounded(update.size) == 0:
        stated[ENTRY_PRICE] = "0"
    return position_records(event_ns, stated)


def held_position_records(position: HeldPosition | None, event_ns: int) -> Events:
    """Records of a REST answer; no position states that nothing is held."""
    held = position or HeldPosition(size="0", average_entry_price="0", unrealized_pnl="0")
    return position_records(
        event_ns,
        {
            POSITION_SIZE: held.size,
            UNREALIZED_PNL: held.unrealized_pnl,
            REALIZED_PNL: held.realized_pnl,
            ENTRY_PRICE: held.average_entry_price,
        },
    )


def position_records(event_ns: int, texts: dict[int, str | None]) -> Events:
    """One record for each field that is stated; a null or empty one has not changed.

    Raises MalformedMessage, ScaleExceeded.
    """
    stated = {field: rounded(text) for field, text in texts.items() if text}
    if not stated:
        raise MalformedMessage("position: must state at least one of its numbers, was none")
    records = empty_events(len(stated))
    records["event_ns"] = event_ns
    records["kind"] = POSITION
    records["field"] = list(stated)
    records["px"] = list(stated.values())
    return records


def rounded(text: str) -> int:
    """A position's number at POSITION_EXPONENT. Raises MalformedMessage, ScaleExceeded."""
    if _DECIMAL.fullmatch(text) is None:
        raise MalformedMessage(f"position: must state decimal numbers, was {text!r}")
    value = Decimal(text)
    if abs(value) >= LARGEST_FIELD // 10**POSITION_EXPONENT:
        raise ScaleExceeded(
            f"position: must be below {LARGEST_FIELD // 10**POSITION_EXPONENT} in every number, was {text!r}"
        )
    return int(value.quantize(_SMALLEST_STEP, ROUND_HALF_EVEN).scaleb(POSITION_EXPONENT))
