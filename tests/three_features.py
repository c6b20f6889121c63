"""A set of three features in two views, as rows of it are written and read."""

from __future__ import annotations

from market.clock import SECOND_NS
from transforms.rows import FeatureGroup, FeatureSet

B = 1_772_000_000 * SECOND_NS
SET = FeatureSet(
    "1.0.0",
    ("mid_price", "vwap_3s", "spread_abs"),
    (
        FeatureGroup("price", "p", ("mid_price", "spread_abs"), (0, 2)),
        FeatureGroup("orderflow", "o", ("vwap_3s",), (1,)),
    ),
    "f00d",
)
OURS = ["price:mid_price", "orderflow:vwap_3s", "price:spread_abs"]
