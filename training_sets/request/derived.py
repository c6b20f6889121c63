"""Derived columns: inputs of a model made of many served rows, of a symbol's past or of all symbols at one time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from market.errors import InvalidRequest

DEFAULT_CUT_OFF: Final = 1e-3
MOST_DERIVED: Final = 64
MOST_TERMS: Final = 5000
"""Of a difference: an order near 0 with a fine cut-off looks back forever."""
MOST_MEMBERS: Final = 10_000


class FractionalDifference(msgspec.Struct, frozen=True, tag="fractional_difference", tag_field="make"):
    """The difference of a fractional order of a feature's served rows, a sample interval apart: see ``weights``.

    order: 0 to 2, both left out. cut_off: weights below it are left out with all that follow. of: the feature's
    logarithm, or its value.
    """

    column: str
    order: float
    cut_off: float = DEFAULT_CUT_OFF
    of: Literal["log", "value"] = "log"

    def __post_init__(self) -> None:
        if not 0.0 < self.order < 2.0 or not 0.0 < self.cut_off < 1.0:
            raise InvalidRequest(
                f"derived.{self.column}: must have an order of 0 to 2 and a cut_off of 0 to 1, was {self.order} and "
                f"{self.cut_off}"
            )
        if len(self.weights()) > MOST_TERMS:
            raise InvalidRequest(
                f"derived.{self.column}: must look at {MOST_TERMS} rows or fewer, was more with an order of "
                f"{self.order} and a cut_off of {self.cut_off}"
            )

    @property
    def name(self) -> str:
        return f"{self.column}_fracdiff_{self.order!r}".replace(".", "_")

    def weights(self) -> list[float]:
        """Of the rows, the newest first, as many as are ``cut_off`` or more in size; MOST_TERMS + 1 at most.

        w(0) = 1, w(k) = w(k - 1) * (k - 1 - order) / k. Source: López de Prado (2018), Advances in Financial Machine
        Learning, 5.5, the fixed-width window.
        """
        found: list[float] = []
        weight = 1.0
        while abs(weight) >= self.cut_off and len(found) <= MOST_TERMS:
            found.append(weight)
            weight = weight * (len(found) - 1 - self.order) / len(found)
        return found


class Member(msgspec.Struct, frozen=True):
    """That a symbol belongs to a universe in [start_ns, end_ns)."""

    symbol: str
    start_ns: int
    end_ns: int


class CrossSectionalRank(msgspec.Struct, frozen=True, tag="rank", tag_field="make"):
    """Where a feature stands among the symbols of its universe at one time: 0 is the least, 1 the greatest.

    universe: who belongs to it when; none named are all symbols of the request, always.
    """

    column: str
    universe: tuple[Member, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.column}_rank"


Derived = FractionalDifference | CrossSectionalRank


def check_derived(derived: tuple[Derived, ...] | None, symbols: Sequence[str]) -> None:
    """Raises InvalidRequest for none or too many, two of one name, or a rank that there cannot be."""
    if derived is None:
        return
    names = [each.name for each in derived]
    if not 0 < len(names) <= MOST_DERIVED or len(set(names)) != len(names):
        raise InvalidRequest(f"derived: must be 1 to {MOST_DERIVED}, each once, was {names}")
    for each in derived:
        if not isinstance(each, CrossSectionalRank):
            continue
        if len(symbols) < 2 or len(each.universe) > MOST_MEMBERS:
            raise InvalidRequest(
                f"derived.{each.column}: must be among two symbols or more, of at most {MOST_MEMBERS} members, was "
                f"{len(symbols)} and {len(each.universe)}"
            )
        for member in each.universe:
            if member.symbol not in symbols or member.start_ns >= member.end_ns:
                raise InvalidRequest(
                    f"derived.{each.column}: must have members of the request that stay for a while, was {member}"
                )
