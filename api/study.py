"""The route that pictures of features are drawn from: a period of the feature log, made small by the server."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import APIRouter, Query, Response

from api.listed_names import listed_names
from api.parameters import From, RegistryVersion, ServedOrBeside, Symbol, To
from api.schemas import FeatureStudies
from api.services import Services
from feature_repo.registry_versions import load_registry_version, registry_versions
from market.clock import SECOND_NS, floor_to, format_iso, format_period
from market.errors import InvalidRequest
from quality.feature_study import LAGS_S, QUANTILES, FeatureStudy, by_second, correlations, study
from storage.features.group_rows import AskedRows, GroupRows, read_group
from storage.features.history import groups_with
from storage.features.log import FeatureLog, no_rows
from storage.features.shadow_log import shadow_log_folder
from transforms.status import NO_DATA

MOST_FEATURES: Final = 8
MOST_VALUES: Final = 12_000_000
"""Rows times features that are held at a time: a day of eight features is 0.7 million."""

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/study", responses={200: {"model": FeatureStudies}})
def study_features(  # noqa: PLR0913, PLR0917  # FastAPI reads the query from the parameters
    services: Services,
    symbol: Symbol,
    begin: From,
    end: To,
    features: Annotated[str, Query(min_length=1, description="At most 8 names, separated by commas.")],
    points: Annotated[int, Query(ge=10, le=2000, description="Points of a line, at most.")] = 600,
    registry_version: RegistryVersion = None,
    rows: ServedOrBeside = "served",
) -> Response:
    """A symbol's rows with ``from <= row time < to``, reduced for drawing, however long the period.

    For each feature: minimum, maximum and mean by bucket, unknown values by bucket and reason, distribution and
    autocorrelation; and the correlation of the features. NO_ROW counts seconds without a row, up to now.

    rows: ``beside`` are those from the time in which registry_version was served next to the active one.
    """
    version = registry_version or services.default_version or registry_versions(services.versions_folder)[-1]
    chosen = load_registry_version(version, services.versions_folder).feature_set
    names = listed_names(features, "features")
    if len(names) > MOST_FEATURES:
        raise InvalidRequest(f"features: must be 1 to {MOST_FEATURES} names, was {len(names)}")
    groups = groups_with(chosen, names)
    from_ns = floor_to(begin, SECOND_NS)
    seconds = (min(end, services.clock.now_ns()) - from_ns) // SECOND_NS
    if seconds < 1:
        raise InvalidRequest(f"period: must begin before it ends and before now, was {format_period(begin, end)}")
    if (values := seconds * len(names)) > MOST_VALUES:
        raise InvalidRequest(f"study: must be of at most {MOST_VALUES} values, rows times features, was {values}")
    log = FeatureLog(shadow_log_folder(services.features.folder, version)) if rows == "beside" else services.features
    if not any(log.of_symbol(group, symbol).is_dir() for group in groups):
        raise no_rows(symbol, f"{', '.join(names)} in registry {version}")
    asked = AskedRows(from_ns=from_ns, to_ns=from_ns + seconds * SECOND_NS, may_lack=True)
    bucket_s = math.ceil(seconds / points)
    found: dict[int, dict[str, Any]] = {}
    columns = {}
    for group in groups:
        read = read_group(log.of_symbol(group, symbol), group, symbol, asked)
        at = (read.row_ns - from_ns) // SECOND_NS
        has_row, status = np.zeros(seconds, np.bool_), np.full(seconds, NO_DATA, np.int8)
        has_row[at], status[at] = True, read.status
        for place, values_of in zip(group.indices, _columns(read), strict=True):
            columns[place] = by_second(read.row_ns, values_of, from_ns, seconds)
            found[place] = _document(study(columns[place], status, has_row, bucket_s))
    order = sorted(found)
    asked_names = [name.rpartition(":")[2] for name in names]
    document = {
        "symbol": symbol,
        "feature_registry_version": version,
        "from": format_iso(from_ns),
        "to": format_iso(from_ns + seconds * SECOND_NS),
        "bucket_seconds": bucket_s,
        "lags_seconds": LAGS_S,
        "probabilities": QUANTILES,
        "features": {asked_names[place]: found[place] for place in order},
        "correlation": [_numbers(row) for row in correlations([columns[place] for place in order])],
    }
    return Response(orjson.dumps(document), media_type="application/json")


def _columns(read: GroupRows) -> Iterable[np.ndarray[Any, np.dtype[np.float64]]]:
    return read.values.T


def _document(found: FeatureStudy) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "known": found.known,
        "mean": _number(found.average),
        "deviation": _number(found.deviation),
        "quantiles": _numbers(found.quantiles),
        "histogram": {
            "edges": found.edges.tolist(),
            "counts": found.counts.tolist(),
            "below": found.below,
            "above": found.above,
        },
        "autocorrelation": _numbers(found.autocorrelation),
        "line": {name: _numbers(getattr(found, name)) for name in ("low", "high", "mean")},
        "unknown": {reason: counts.tolist() for reason, counts in found.unknown.items()},
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _numbers(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    """NaN is null."""
    return [_number(value) for value in values.tolist()]
