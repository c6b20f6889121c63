"""The position held: each field as last stated by the gateway, the position manager or its REST interface."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from market.clock import DAY_NS
from market.events import ENTRY_PRICE, POSITION_FIELD_COUNT, POSITION_SIZE, REALIZED_PNL, UNREALIZED_PNL
from transforms.jit import jit
from transforms.ticker import remembered

POSITION_MEMORY_NS: Final = DAY_NS
"""A field not stated for so long is unknown."""


class Position(NamedTuple):
    """Last known fields as mantissas; UNKNOWN for one not stated within a day."""

    size: int
    unrealized_pnl: int
    realized_pnl: int
    entry_px: int


@jit
def apply_position_record(position: Any, record: Any) -> None:
    """Remember one field."""
    if record.field < POSITION_FIELD_COUNT:
        position.value[record.field] = record.px
        position.recv_ns[record.field] = record.recv_ns


@jit
def present_position(position: Any, row_ns: int) -> Position:
    """The position as known at the row."""
    return Position(
        remembered(position, POSITION_SIZE, row_ns, POSITION_MEMORY_NS),
        remembered(position, UNREALIZED_PNL, row_ns, POSITION_MEMORY_NS),
        remembered(position, REALIZED_PNL, row_ns, POSITION_MEMORY_NS),
        remembered(position, ENTRY_PRICE, row_ns, POSITION_MEMORY_NS),
    )
