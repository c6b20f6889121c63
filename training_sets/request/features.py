"""Features by name: views in addition to a registry version, or chosen columns of it and of views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from market.errors import InvalidRequest

MOST_REFERENCES: Final = 1_000
SYMBOL: Final = "symbol"
"""The key that every sample has."""


@dataclass(frozen=True, slots=True)
class FeatureChoice:
    """What a training set has for features.

    references: "view:name", each once. is_beside: whether they come after every feature of the registry version; else
    they are all there is, of the version's views and of others, in that order.
    keys: the value of each key of the views of others but the symbol, which is the sample's own.
    """

    references: tuple[str, ...]
    is_beside: bool = True
    keys: dict[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < len(self.references) <= MOST_REFERENCES or len(set(self.references)) != len(self.references):
            raise InvalidRequest(
                f"features: must be 1 to {MOST_REFERENCES}, each once, was {len(self.references)}: "
                f"{', '.join(self.references[:5])}"
            )
        for reference in self.references:
            view, _, name = reference.partition(":")
            if not view or not name or ":" in name:
                raise InvalidRequest(f"features: must be view:name, was {reference!r}")
        if SYMBOL in self.keys:
            raise InvalidRequest(f"feature_keys: must not have {SYMBOL}, which is that of each sample")
