"""Features that no catalogue has: one that is sound, and some that are broken each in its way.

A module as another package would declare its features in: it is one, where FEATURE_SERVICE_FEATURE_MODULES names it.
"""

from __future__ import annotations

import math
from typing import Final

from transforms.declaration import NOTHING, feature
from transforms.inputs import INPUTS

RAISES_FROM_NS: Final = 1_721_347_440_000_000_000
"""2024-07-19T00:04:00Z: ``toy_raises_late`` computes no row from then on."""
ROUNDS: Final = 4_000_000
assert "row_ns" in INPUTS


@feature("toy_even", reads=NOTHING, unit="1", low=0.0, high=1.0)
def toy_even(row_ns: int) -> float:
    """Whether the second is even.

    Formula: 1 - second mod 2
    NaN: never.
    """
    return float(1 - row_ns // 1_000_000_000 % 2)


@feature("toy_raises", reads=NOTHING, unit="1")
def toy_raises(row_ns: int) -> float:
    """No row can be computed.

    Formula: none
    NaN: never.
    """
    if row_ns > 0:
        raise ValueError("toy_raises: no row can be computed")
    return 0.0


@feature("toy_raises_late", reads=NOTHING, unit="1")
def toy_raises_late(row_ns: int) -> float:
    """Rows can be computed for a while.

    Formula: 0
    NaN: never.
    """
    if row_ns >= RAISES_FROM_NS:
        raise ValueError("toy_raises_late: no row can be computed any more")
    return 0.0


@feature("toy_slow", reads=NOTHING, unit="1")
def toy_slow(row_ns: int) -> float:
    """Takes as long as a thousand others.

    Formula: a sum
    NaN: never.
    """
    total = 0.0
    for at in range(ROUNDS):
        total += math.sin(at + row_ns % 7)
    return total


@feature("toy_text", reads=NOTHING, unit="1")
def toy_text(row_ns: int) -> float:
    """Does not compile: a number is no text.

    Formula: none
    NaN: never.
    """
    return row_ns + "text"  # type: ignore[operator]  # what is broken about it
