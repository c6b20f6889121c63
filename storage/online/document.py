"""The FeatureVector document: one row as JSON values, the same in HTTP, on RabbitMQ and on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from market.clock import MILLISECOND_NS, format_iso


def vector_document(  # noqa: PLR0913  # the fields of the document
    *,
    symbol: str,
    row_ns: int,
    columns: Sequence[str],
    values: Sequence[float],
    missing: Mapping[str, str],
    version: str,
    fingerprint: str,
    now_ns: int,
    trace_id: str,
) -> dict[str, Any]:
    """The document of a row.

    timestamp: the row time. age_ms: from the row time to ``now_ns``, whole milliseconds,
    at least 0, whatever clock the writer has. A NaN is left out of
    ``features`` and named with its reason in ``missing``.
    """
    named = list(zip(columns, values, strict=True))
    return {
        "timestamp": format_iso(row_ns),
        "symbol": symbol,
        "features": {name: value for name, value in named if not isnan(value)},
        "missing": {name: missing[name] for name, value in named if isnan(value)},
        "feature_registry_version": version,
        "feature_set": fingerprint,
        "age_ms": max(0, now_ns - row_ns) // MILLISECOND_NS,
        "trace_id": trace_id,
    }
