"""Routes of what computing each feature costs: what was measured last, and measuring it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from api.services import Services
from feature_repo.registry_versions import load_registry_version
from ingestion.tape.feature_cost import FeatureCosts
from market.clock import format_iso
from market.errors import Conflict

router = APIRouter(prefix="/features", tags=["features"])


class FeatureCostDocument(BaseModel):
    """``row_us``: CPU time of computing it for one row of one symbol, microseconds; null with the reason."""

    row_us: float | None
    reason: str | None


class FeatureCostsDocument(BaseModel):
    """The cost of each feature of the served version alone; null with the reason if this process has not measured.

    Several features share what they take of a window, so they cost less together than the sum. ``symbol``, ``row``: the
    live state it was measured on; ``processor``: on what.
    """

    feature_registry_version: str | None = None
    symbol: str | None = None
    row: str | None = None
    processor: str | None = None
    features: dict[str, FeatureCostDocument] | None = None
    reason: str | None = None


@router.get("/costs")
def costs(services: Services) -> FeatureCostsDocument:
    """What computing each feature costs, as this process measured it last. It measures only when it is asked to."""
    newest = None if services.feature_meter is None else services.feature_meter.newest
    if newest is None:
        return FeatureCostsDocument(reason="not measured by this process: POST /features/costs measures")
    return _document(newest)


@router.post("/costs")
def measure(services: Services) -> FeatureCostsDocument:
    """Measure what computing each feature costs, on the newest state of the busiest symbol, at low priority.

    It takes seconds, and once on a machine a minute, to compile. 409 while another is at it, or where nothing is
    ingested on this machine.
    """
    if services.feature_meter is None:
        raise Conflict("costs of features: could not be measured: this process has no tape")
    version = services.default_version
    served = load_registry_version(version, services.versions_folder).feature_set
    return _document(services.feature_meter.measure(served, services.clock.now_ns()))


def _document(found: FeatureCosts) -> FeatureCostsDocument:
    return FeatureCostsDocument(
        feature_registry_version=found.version,
        symbol=found.symbol,
        row=format_iso(found.row_ns),
        processor=found.processor,
        features={
            name: FeatureCostDocument(row_us=each.row_us, reason=each.reason) for name, each in found.costs.items()
        },
    )
