"""Drift: what is served is compared, every hour, with the datasets that models in use were trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from market.errors import FeatureServiceError, StoreUnavailable
from upkeep.tasks import Reach

MOST_COLUMNS_TOLD: Final = 10


def look_at_drift(
    dataset_ids: Sequence[str], compare: Callable[[str], Mapping[str, Any]], reach: Reach
) -> Mapping[str, Any]:
    """Compare with each dataset.

    ``drifted`` says of each and of a symbol how many columns have drifted, of how many, and the farthest of them.

    compare: as ``ServedDrift.of``. A dataset that cannot be compared is a problem. Raises StoreUnavailable.
    """
    drifted: list[dict[str, Any]] = []
    problems = []
    for at, dataset_id in enumerate(dataset_ids):
        reach(at / len(dataset_ids))
        try:
            found = compare(dataset_id)
        except StoreUnavailable:
            raise
        except FeatureServiceError as error:
            problems.append(f"drift from dataset {dataset_id}: could not be checked: {error}")
            continue
        drifted += [
            {
                "dataset_id": dataset_id,
                "symbol": symbol,
                "compared": len(each["columns"]),
                "count": len(each["drifted"]),
                "columns": each["drifted"][:MOST_COLUMNS_TOLD],
            }
            for symbol, each in found["symbols"].items()
            if each["drifted"]
        ]
    return {"datasets": len(dataset_ids), "drifted": drifted, "problems": problems}
