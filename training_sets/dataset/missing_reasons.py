"""Why values of a dataset are unknown, by what the feature log says of their groups, of a sample of its rows.

1. Those of the profile's rows that lack a value are examined, on up to MOST_DATES dates of each symbol: every date, or
   every second, fourth ... since 1970, so that a later dataset looks at the same ones, which were read before.
2. An unknown value has the status of its group in that row as its reason; where the group is OK the inputs are known
   and the formula has no value, UNDEFINED.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS
from quality.profile import TableProfile
from quality.unknown_reasons import reason_of
from storage.features.log import FeatureLog
from storage.features.statuses import NO_ROW, read_statuses
from training_sets.request.request import DatasetRequest
from training_sets.samples.columns import DatasetFeatures

MOST_DATES: Final = 8
NOT_LOGGED: Final = "NOT_LOGGED"
"""The log has no row: what it had was removed while the dataset was built."""


def missing_reasons(
    request: DatasetRequest, features: DatasetFeatures, profile: TableProfile, log: FeatureLog
) -> dict[str, Any] | None:
    """As JSON: ``rows`` examined, which lack a value, and for each column how many of them for which reason.

    Of the registry version's columns alone. None for samples that are no rows of the log. Raises CorruptStore.
    """
    if request.sample_kind != "on_row":
        return None
    times_ns, values = profile.sample
    unknown = np.isnan(values[:, [profile.columns.index(name) for name in features.own]])
    places = {name: at for at, name in enumerate(features.own)}
    found: dict[str, Counter[str]] = {name: Counter() for name in features.own}
    rows = 0
    for number, symbol in enumerate(request.symbols):
        lacking = np.flatnonzero((profile.sample_symbol == number) & unknown.any(axis=1))
        dates = np.unique(times_ns[lacking] // DAY_NS)
        for date in _some(dates.tolist()):
            own = lacking[times_ns[lacking] // DAY_NS == date]
            own = own[np.argsort(times_ns[own], kind="stable")]
            rows += len(own)
            for group in features.chosen.groups:
                names = [name for name in group.columns if name in places]
                of_group = [places[name] for name in names]
                if not unknown[np.ix_(own, of_group)].any():
                    continue
                statuses = read_statuses(log, symbol, group, times_ns[own])
                for name, at in zip(names, of_group, strict=True):
                    found[name].update(_reasons(statuses[unknown[own, at]]))
    by_column = {name: dict(sorted(counts.items())) for name, counts in found.items() if counts}
    return {"rows": rows, "by_column": by_column}


def _some(dates: list[int]) -> list[int]:
    """Up to MOST_DATES of ascending days since 1970, one at least where there are any."""
    step, some = 1, dates
    while len(some) > MOST_DATES:
        step *= 2
        some = [date for date in dates if date % step == 0] or dates[:1]
    return some


def _reasons(statuses: npt.NDArray[np.int8]) -> Counter[str]:
    """How many have each reason. Counted as numbers: a month of candles has half a million unknown values."""
    counts: Counter[str] = Counter()
    for number, count in enumerate(np.bincount(statuses - NO_ROW).tolist()):
        if count:
            status = number + NO_ROW
            counts[NOT_LOGGED if status == NO_ROW else reason_of(status)] += count
    return counts
