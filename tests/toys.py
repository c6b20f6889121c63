"""Features that no catalogue has: one that is sound, and some that are broken each in its way."""

from __future__ import annotations

import math
import sys
from multiprocessing.connection import Connection
from typing import Final

from ingestion.pipeline.warming import WarmingPlan, warm_up_engines
from transforms.catalogue import FEATURES, GROUPS
from transforms.declaration import NOTHING, declared_features, feature
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


def declare_toys() -> None:
    """Let the catalogue of this process have them."""
    GROUPS["toys"] = declared_features(__name__)
    FEATURES.update({declared.name: declared for declared in GROUPS["toys"]})
    sys.modules["transforms.features.toys"] = sys.modules[__name__]


def remove_toys() -> None:
    """Leave the catalogue as it was."""
    for declared in GROUPS.pop("toys"):
        del FEATURES[declared.name]
    del sys.modules["transforms.features.toys"]


def warm_up_with_toys(plan: WarmingPlan, connection: Connection) -> None:
    """The warming process of a worker whose catalogue has the toys."""
    declare_toys()
    warm_up_engines(plan, connection)
