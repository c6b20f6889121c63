"""The FeatureVector document: one row as JSON values, the same in HTTP, on RabbitMQ and on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from market.clock import MILLISECOND_NS, format_iso
from transforms.status import STATUS_NAMES


def vector_document(  # noqa: PLR0913  # the fields of the document
    *,
    symbol: str,
    row_ns: int,
    columns: Sequence[str],
    values: Sequence[float],
    missing: Mapping[str, str],
    statuses: Mapping[str, int],
    version: str,
    fingerprint: str,
    now_ns: int,
    trace_id: str,
) -> dict[str, Any]:
    """The document of a row.

    timestamp: the row time. age_ms: from the row time to ``now_ns``, whole milliseconds,
    at least 0, whatever clock the writer has. A NaN is left out of
    ``features`` and named with its reason in ``missing``. statuses: by group; the document names them in ``groups``,
    since a position of 0 is none that is missing and known to be 0 only where its group is not NO_DATA.
    """
    named = list(zip(columns, values, strict=True))
    return {
        "timestamp": format_iso(row_ns),
        "symbol": symbol,
        "features": {name: value for name, value in named if not isnan(value)},
        "missing": {name: missing[name] for name, value in named if isnan(value)},
        "groups": {group: STATUS_NAMES[status] for group, status in statuses.items()},
        "feature_registry_version": version,
        "feature_set": fingerprint,
        "age_ms": max(0, now_ns - row_ns) // MILLISECOND_NS,
        "trace_id": trace_id,
    }
