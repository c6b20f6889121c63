"""Everything the engine remembers of one symbol, as one fixed-width record whose bytes are the checkpoint."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import MILLISECOND_NS, SECOND_NS
from market.events import KIND_COUNT, KLINE_FIELD_COUNT, POSITION_FIELD_COUNT, TICKER_FIELD_COUNT, UNKNOWN

ORDER_NS: Final = 50 * MILLISECOND_NS
"""Records are applied by slots of this length, the finest row grid: so no row depends on the grid in use."""
GRIDS_NS: Final = tuple(milliseconds * MILLISECOND_NS for milliseconds in (50, 100, 200, 250, 500, 1000))
"""The row grids there are: whole slots, of which whole ones make a second."""
BOOK_LEVELS: Final = 2048
"""Levels a side can hold: twice the deepest Bybit stream, since a message may add before it deletes."""
BOOK_SLOTS: Final = 3072
"""Places for them: room at both ends, so that a full side moves to the middle once in five hundred changes at most."""
SECONDS_KEPT: Final = 512
"""Seconds of the past kept, a power of two above the longest window (5 minutes)."""
PHASES: Final = SECOND_NS // ORDER_NS
"""Places in a second where a tile of the finest grid can end."""
TILE_COUNT: Final = PHASES * SECONDS_KEPT
"""Tile ends kept, those of one phase side by side: a window of whole seconds has both ends, and every second of a
series, in one run of memory, and a grid of whole seconds touches no more than the first run."""
CANDLE_COUNT: Final = 2048
"""Minutes of candles kept, a power of two above the longest look-back (a day and an hour)."""
CANDLE_FEATURES: Final = 256
"""Room for the features over candles and bars of one kernel."""
BAR_MINUTES: Final = (3, 5, 15, 30, 60, 120, 240, 360, 720)
"""Intervals of the exchange's candles of which features are made."""
BAR_SLOTS: Final = (512, 512, 128, 64, 32, 16, 8, 8, 4)
"""Bars kept of each interval: more than a day holds, the longest look-back."""
BAR_FIRST_SLOTS: Final = (0, 512, 1024, 1152, 1216, 1248, 1264, 1272, 1280)
"""The first slot of each interval."""
BAR_COUNT: Final = 1284
NORMALISED_COLUMNS: Final = 32
"""Columns a feature set may normalise, over windows of less than SECONDS_KEPT seconds."""
NOT_STARTED: Final = np.iinfo(np.int64).max

SCALE: Final = np.dtype(
    [("px", np.float64), ("qty", np.float64)],
    align=True,
)

SIDE: Final = np.dtype(
    [("px", np.int64, (BOOK_SLOTS,)), ("qty", np.int64, (BOOK_SLOTS,)), ("first", np.int64), ("end", np.int64)],
    align=True,
)

BOOK: Final = np.dtype(
    [
        ("bids", SIDE),
        ("asks", SIDE),
        ("validity", np.int64),
        ("is_applying", np.int64),
        ("last_update_id", np.int64),
        ("broken_ns", np.int64),
        # When the book became two-sided, as far as it has been so ever since.
        ("two_sided_since_ns", np.int64),
        ("best_bid_px", np.int64),
        ("best_bid_qty", np.int64),
        ("best_ask_px", np.int64),
        ("best_ask_qty", np.int64),
        ("gaps", np.int64),
        ("duplicates", np.int64),
        ("crossed", np.int64),
        ("overflows", np.int64),
    ],
    align=True,
)

# Sums over everything since the beginning; two limbs where int64 may not do, see wide.
_SUM_FIELDS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("buy_volume", (2,)),
    ("sell_volume", (2,)),
    ("notional", (2,)),
    ("order_flow_imbalance", (2,)),
    ("trade_count", ()),
    ("best_changes", ()),
)
SUMS: Final = np.dtype([(name, np.int64, shape) for name, shape in _SUM_FIELDS], align=True)

_TILE_SERIES: Final = (TILE_COUNT,)
TILES: Final = np.dtype(
    [
        *((name, np.int64, (TILE_COUNT, *shape)) for name, shape in _SUM_FIELDS),
        ("twice_mid", np.int64, _TILE_SERIES),
        # Natural logarithm of the mid over that of a second before; NaN where either is unknown.
        ("log_return", np.float64, _TILE_SERIES),
        ("open_interest", np.int64, _TILE_SERIES),
    ],
    align=True,
)
"""What was so at the end of each tile."""

CANDLES: Final = np.dtype(
    [
        ("start_ns", np.int64, (CANDLE_COUNT,)),
        ("recv_ns", np.int64, (CANDLE_COUNT,)),
        ("value", np.int64, (KLINE_FIELD_COUNT, CANDLE_COUNT)),
        ("pending", np.int64, (KLINE_FIELD_COUNT,)),
        # The candles of the present row, oldest first, ending at the last element; see candles.collect_candles.
        ("window", np.int64, (KLINE_FIELD_COUNT, CANDLE_COUNT)),
        ("known", np.int64),
        ("known_until_ns", np.int64),
        # What the features made of them, in the kernel's order; good as long as the candles are the same.
        ("feature", np.float64, (CANDLE_FEATURES,)),
    ],
    align=True,
)

BARS: Final = np.dtype(
    [
        ("start_ns", np.int64, (BAR_COUNT,)),
        ("recv_ns", np.int64, (BAR_COUNT,)),
        ("value", np.int64, (KLINE_FIELD_COUNT, BAR_COUNT)),
        ("pending", np.int64, (KLINE_FIELD_COUNT,)),
        # The bars of the present row by interval, oldest first, ending at its last slot; see bars.collect_bars.
        ("window", np.int64, (KLINE_FIELD_COUNT, BAR_COUNT)),
        ("last_seen_ns", np.int64, (len(BAR_MINUTES),)),
        ("known", np.int64, (len(BAR_MINUTES),)),
        ("known_until_ns", np.int64, (len(BAR_MINUTES),)),
    ],
    align=True,
)

TICKER: Final = np.dtype(
    [("value", np.int64, (TICKER_FIELD_COUNT,)), ("recv_ns", np.int64, (TICKER_FIELD_COUNT,))],
    align=True,
)

POSITION: Final = np.dtype(
    [("value", np.int64, (POSITION_FIELD_COUNT,)), ("recv_ns", np.int64, (POSITION_FIELD_COUNT,))],
    align=True,
)

STATE: Final = np.dtype(
    [
        ("scale", SCALE),
        # Length of a tile, the row grid; when the history began; end of the tile that is open.
        ("tile_ns", np.int64),
        ("begin_ns", np.int64),
        ("next_end_ns", np.int64),
        ("start_ns", np.int64, (KIND_COUNT,)),
        ("last_seen_ns", np.int64, (KIND_COUNT,)),
        ("book", BOOK),
        ("sums", SUMS),
        ("tiles", TILES),
        ("candles", CANDLES),
        ("bars", BARS),
        ("ticker", TICKER),
        ("position", POSITION),
        # Twice the mid at the present row and the seconds before it, oldest first; see tiles.collect_mids.
        ("mids", np.int64, (SECONDS_KEPT,)),
        # Log returns of the mid over the seconds before the present row, oldest first; see tiles.collect_log_returns.
        ("log_returns", np.float64, (SECONDS_KEPT,)),
        # Values of each column that is normalised at whole seconds, by second; NaN before the first row.
        ("normalised", np.float64, (NORMALISED_COLUMNS, SECONDS_KEPT)),
    ],
    align=True,
)
State = npt.NDArray[Any]
"""A one-element array of STATE."""


def new_state(*, price_scale: float, quantity_scale: float, tile_ns: int = SECOND_NS) -> State:
    """The state before any message: nothing known, no row due.

    price_scale, quantity_scale: 10**exponent, what a mantissa is divided by. tile_ns: one of GRIDS_NS.
    """
    state = np.zeros(1, STATE)
    state["scale"]["px"] = price_scale
    state["scale"]["qty"] = quantity_scale
    state["tile_ns"] = tile_ns
    state["next_end_ns"] = NOT_STARTED
    state["ticker"]["value"] = UNKNOWN
    state["tiles"]["open_interest"] = UNKNOWN
    state["tiles"]["log_return"] = np.nan
    state["position"]["value"] = UNKNOWN
    state["normalised"] = np.nan
    return state
