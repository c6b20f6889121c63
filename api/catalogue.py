"""The catalogue as the API and the command line tell of it: what each feature is, and what is promised of its view."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from feature_repo.freshness import slo_of
from market.clock import SECOND_NS
from transforms.catalogue import FEATURES

router = APIRouter(prefix="/features", tags=["features"])


def catalogue_document() -> list[dict[str, Any]]:
    """Every feature in the catalogue's order. Ranges are null where they are open."""
    return [
        {
            "name": declared.name,
            "group": declared.group,
            "summary": declared.summary,
            "inputs": [declared.source.name.lower()] if declared.source.value is not None else [],
            "horizon_seconds": declared.horizon_ns // SECOND_NS,
            "unit": declared.unit,
            "low": declared.low if declared.low > float("-inf") else None,
            "high": declared.high if declared.high < float("inf") else None,
            "formula": declared.formula,
            "nan_rule": declared.nan_rule,
            "freshness_slo_seconds": slo_of(declared.group).freshness.total_seconds(),
            "coverage_slo": slo_of(declared.group).coverage,
        }
        for declared in FEATURES.values()
    ]


@router.get("/list")
def list_features() -> list[dict[str, Any]]:
    """Every feature with its formula, unit, range, rule for NaN, horizon, and the objectives of its view."""
    return catalogue_document()
