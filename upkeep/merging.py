"""Automatic merging: the parts in which a day was served become one part once the day is over.

1. A day is merged an hour after its end; what it was merged of goes at a later run (``storage.features.merging``).
2. Days of the last three are looked at, since each look lists folders; ``features merge`` merges any.
3. A day that fails leaves the others to be done; the run fails in the end, naming it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from market.clock import DAY_NS, HOUR_NS, utc_date
from market.errors import FeatureServiceError
from storage.features.merging import merge_day
from storage.features.parts import PART
from storage.places import Place, matching, names_matching
from upkeep.failures import Failures
from upkeep.tasks import Reach

SERVED_NS: Final = HOUR_NS
"""A day that ended so long ago gets no more parts, but for those of a worker that catches up."""
DAYS: Final = 3


def merge_served_days(features: Place, reach: Reach, *, now_ns: int) -> Mapping[str, Any]:
    """Merge what is due of every group and symbol.

    Raises CorruptStore when a part is damaged, after all other days were merged; StoreUnavailable where nothing is
    known to be damaged, and disk or store refused.
    """
    newest_ns = now_ns - SERVED_NS - DAY_NS
    dates = [utc_date(newest_ns - days * DAY_NS) for days in reversed(range(DAYS))]
    symbols = matching(features, "*/*/symbol=*")
    days = parts = 0
    failures = Failures()
    for at, symbol in enumerate(symbols):
        reach(at / len(symbols))
        for folder in (symbol / f"date={date}" for date in dates):
            try:
                merged = merge_day(folder, now_ns=now_ns) if names_matching(folder, f"{PART}-*.parquet")[1:] else 0
            except FeatureServiceError as error:
                failures.add(str(folder.relative_to(features)), error)
                continue
            days += merged > 0
            parts += merged
        if failures.is_away(features):
            break
    failures.check("merging: must read every part of a day, did not")
    return {"days": days, "parts": parts}
