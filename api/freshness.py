"""Freshness in the API: each view's objectives, how well they were met, and how old its rows are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from prometheus_client.core import GaugeMetricFamily, Metric

from api.checks import Answer, Check
from api.freshness_document import freshness_document
from api.services import ProcessServices, Services
from feature_repo.freshness import slo_of
from market.clock import format_iso, to_datetime
from storage.database.freshness import WindowLooks

FRESHNESS: Final = "freshness"

router = APIRouter(prefix="/features", tags=["features"])


@router.get("/freshness")
def freshness(services: Services) -> dict[str, Any]:
    """Each view's objectives, how often it was fresh and covered, and its remaining error budget."""
    now_ns = services.clock.now_ns()
    looks = () if services.freshness is None else services.freshness.windows(to_datetime(now_ns))
    vectors = [vector for vector in services.online.read(services.symbols) if vector is not None]
    return {"timestamp": format_iso(now_ns), "views": freshness_document(looks, vectors, now_ns=now_ns)}


def freshness_check(services: ProcessServices) -> Check:
    """What was found in each window."""

    def check() -> Mapping[str, Any]:
        if services.freshness is None:
            return {}
        return {"looks": services.freshness.windows(to_datetime(services.clock.now_ns()))}

    return check


def freshness_families(answer: Answer) -> list[Metric]:
    """The metrics of each checked view."""
    labels = ["view", "tier", "window"]
    age = GaugeMetricFamily(
        "feature_service_freshness_slo_seconds", "How old a row of the view may be.", labels=["view"]
    )
    coverage = GaugeMetricFamily(
        "feature_service_freshness_coverage_ratio",
        "Share of checks that found a fresh row with its source.",
        labels=labels,
    )
    burn = GaugeMetricFamily(
        "feature_service_freshness_burn_rate",
        "How fast the error budget is spent; 1 spends it exactly in its period.",
        labels=labels,
    )
    looks: Sequence[WindowLooks] = answer.found.get("looks", ())
    for view in sorted({each.view for each in looks}):
        age.add_metric([view], slo_of(view).freshness.total_seconds())
    for each in looks:
        of = [each.view, str(each.tier), each.window]
        if each.coverage is not None:
            coverage.add_metric(of, each.coverage)
        burn.add_metric(of, each.burn_rate(slo_of(each.view).coverage))
    return [age, coverage, burn]
