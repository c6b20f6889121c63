"""A feature of another package that is sound until one trade comes: a test decides when that is."""

from __future__ import annotations

from typing import Any, Final

from transforms.declaration import TRADES, feature

WHALE: Final = 1_000_000
"""Base units that nobody trades."""


@feature("toy_raises_at_a_whale", reads=TRADES, window="3s", unit="1")
def toy_raises_at_a_whale(trades: Any, scale: Any) -> float:  # noqa: ANN401  # the kernel's structures
    """Rows can be computed until a whale trades.

    Formula: 0
    NaN: never.
    """
    if trades.volume / scale.qty >= WHALE:
        raise ValueError("toy_raises_at_a_whale: no row can be computed any more")
    return 0.0
