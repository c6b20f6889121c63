"""The feature vector as JSON, the same in HTTP and on the command line."""

from __future__ import annotations

from math import isnan
from typing import Any

from market.clock import MILLISECOND_NS, format_iso
from storage.online_vector import OnlineVector


def feature_vector(vector: OnlineVector, *, now_ns: int, trace_id: str) -> dict[str, Any]:
    """The FeatureVector document of a final row.

    timestamp: the row time. age_ms: from the row time to ``now_ns``, whole milliseconds. A NaN is left out of
    ``features`` and named with its reason in ``missing``.
    """
    values = dict(zip(vector.columns, vector.values.tolist(), strict=True))
    return {
        "timestamp": format_iso(vector.row_ns),
        "symbol": vector.symbol,
        "features": {name: value for name, value in values.items() if not isnan(value)},
        "missing": {name: vector.missing[name] for name, value in values.items() if isnan(value)},
        "feature_registry_version": vector.version,
        "feature_set": vector.fingerprint,
        "final": True,
        "age_ms": (now_ns - vector.row_ns) // MILLISECOND_NS,
        "trace_id": trace_id,
    }
