"""Who wants to trade: features of the trades in a window."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import TRADES, feature

NAN = math.nan


@feature("pressure_{window}", windows=("15s", "1m"), reads=TRADES, unit="1", low=-1.0, high=1.0)
def pressure(trades: Any) -> float:
    """What buyers took less what sellers took, relative to everything that was traded.

    Formula: (bought - sold) / (bought + sold)
    NaN: nothing traded.
    """
    return trades.net_volume / trades.volume if trades.volume > 0 else NAN
