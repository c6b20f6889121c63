"""Automatic retention: expired feature rows and raw data go to the archive, or are deleted if there is none.

1. Raw data stays longer than the feature rows, by the horizon and back to an order book's last snapshot before that:
   every row that is kept can still be computed again.
2. What a dataset is made of, the horizon before and after its periods included, is archived with a word, and never
   deleted: it stays, and the result names it by symbol and date with the datasets.
3. A day is removed as a whole. After an interruption the next run continues.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from market.clock import DAY_NS, floor_to, utc_date
from storage.features.log import FeatureLog
from storage.places import Place
from storage.raw.events import last_snapshot_ns
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from storage.retention.features import (
    ARCHIVED_FEATURES,
    FeatureDay,
    archive_feature_days,
    delete_feature_days,
    expired_feature_days,
    logged_symbols,
)
from storage.retention.raw import archive_parts, delete_parts, expired_parts
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.usage import datasets_of
from upkeep.tasks import Reach

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredStores:
    """What is retired from where. archive: None is nowhere, so that what has had its time is deleted."""

    raw: RawData
    features: FeatureLog
    datasets: Datasets
    archive: Place | None


@dataclass(slots=True)
class _Day:
    """What of a symbol is past its time and ended on one UTC date."""

    parts: list[RawPart] = field(default_factory=list)
    feature_days: list[FeatureDay] = field(default_factory=list)

    @property
    def period(self) -> tuple[int, int]:
        spans = [(part.first_ns, part.last_ns) for part in self.parts]
        spans += [(day.first_ns, day.last_ns) for day in self.feature_days]
        return min(first for first, _ in spans), max(last for _, last in spans)


def retire_expired(stores: RetiredStores, *, before_ns: int, horizon_ns: int, reach: Reach) -> Mapping[str, Any]:
    """Retire the days that ended before ``before_ns``; horizon_ns: how far back a row sees.

    Raises CorruptStore for a file that is not what its manifest says, StoreUnavailable.
    """
    symbols = sorted({*stores.raw.symbols(), *logged_symbols(stores.features)})
    retired_bytes = parts = feature_days = 0
    problems: list[str] = []
    for at, symbol in enumerate(symbols):
        expired = _expired(stores, symbol, before_ns, horizon_ns)
        for done, (date, day) in enumerate(sorted(expired.items())):
            reach((at + done / len(expired)) / len(symbols))
            first_ns, last_ns = day.period
            used_by = datasets_of(stores.datasets, symbol, first_ns - horizon_ns, last_ns + horizon_ns)
            if used_by:
                verb = "kept, although it has expired" if stores.archive is None else "archived"
                problems.append(f"{symbol} {date}: {verb}, datasets use it: {', '.join(used_by)}")
                if stores.archive is None:
                    continue
            retired_bytes += _retire(stores, day)
            parts += len(day.parts)
            feature_days += len(day.feature_days)
            _log.info(
                "%s %s: %s, expired: %d parts, %d days of features",
                symbol,
                date,
                "deleted" if stores.archive is None else f"archived to {stores.archive}",
                len(day.parts),
                len(day.feature_days),
            )
    return {
        "archive": None if stores.archive is None else str(stores.archive),
        "parts": parts,
        "feature_days": feature_days,
        "bytes": retired_bytes,
        "problems": problems,
    }


def _expired(stores: RetiredStores, symbol: str, before_ns: int, horizon_ns: int) -> dict[str, _Day]:
    """By the UTC date on which each ended."""
    found: defaultdict[str, _Day] = defaultdict(_Day)
    for part in expired_parts(stores.raw, symbol, _needed_from_ns(stores.raw, symbol, before_ns, horizon_ns)):
        found[utc_date(part.last_ns)].parts.append(part)
    for day in expired_feature_days(stores.features, symbol, before_ns):
        found[day.date].feature_days.append(day)
    return dict(found)


def _needed_from_ns(raw: RawData, symbol: str, before_ns: int, horizon_ns: int) -> int:
    """From when on raw data is needed to compute every row of the days that are kept."""
    seen_from_ns = floor_to(before_ns, DAY_NS) - horizon_ns
    parts = raw.parts(symbol)
    if not parts or parts[0].last_ns >= seen_from_ns:
        return seen_from_ns
    snapshot_ns = last_snapshot_ns(raw, parts, seen_from_ns)
    return seen_from_ns if snapshot_ns is None else min(seen_from_ns, snapshot_ns)


def _retire(stores: RetiredStores, day: _Day) -> int:
    """The bytes that went. Features first: rows whose raw data is gone could not be computed again."""
    if stores.archive is None:
        return delete_feature_days(stores.features, day.feature_days, used_by=()) + delete_parts(
            stores.raw, day.parts, used_by=()
        )
    return archive_feature_days(stores.features, stores.archive / ARCHIVED_FEATURES, day.feature_days) + archive_parts(
        stores.raw, stores.archive, day.parts
    )
