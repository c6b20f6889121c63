"""Alerts in the API: the open ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from prometheus_client.core import GaugeMetricFamily, Metric

from api.checks import Answer, Check
from api.services import ProcessServices, Services
from market.clock import to_datetime
from storage.database.alerts import Alert

ALERTS: Final = "alerts"

router = APIRouter(prefix="/alerts", tags=["upkeep"])


@router.get("/open")
def list_open(services: Services) -> list[dict[str, Any]]:
    """The open alerts, including silenced ones."""
    found: Sequence[Alert] = alerts_check(services)().get("alerts", ())
    return [alert.document() for alert in found]


def alerts_check(services: ProcessServices) -> Check:
    """The alerts that are open."""

    def check() -> Mapping[str, Any]:
        if services.alerts is None:
            return {}
        return {"alerts": services.alerts.open_alerts(to_datetime(services.clock.now_ns()))}

    return check


def alert_families(answer: Answer) -> list[Metric]:
    """The metric: how many are open, silenced or not."""
    family = GaugeMetricFamily("feature_service_alerts_open", "Alerts that are open.", labels=["rule", "severity"])
    counts = Counter((each.rule, each.severity) for each in answer.found.get("alerts", ()))
    for (rule, severity), count in sorted(counts.items()):
        family.add_metric([rule, severity], count)
    return [family]
