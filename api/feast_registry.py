"""Listings of Feast's registry over REST, as Feast's registry server names them; nothing is changed by them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from api.feature_server import FeastRoute
from api.services import Services

Kind = Annotated[
    Literal["entities", "data_sources", "feature_views", "feature_services", "projects"],
    Path(description="Kind of object in Feast's registry."),
]
Project = Annotated[str | None, Query(description="Feast project; default: the service's.")]

router = APIRouter(prefix="/api/v1", tags=["feature server"], route_class=FeastRoute)


@router.get("/{kind}")
def list_of_registry(kind: Kind, services: Services, project: Project = None) -> dict[str, Any]:
    """All registered objects of a kind, ours and third-party. A change is visible within half a minute."""
    return services.feature_server.listing(kind, project)


@router.get("/{kind}/{name}")
def get_of_registry(
    kind: Kind,
    name: Annotated[str, Path(max_length=200, description="Name of the object.")],
    services: Services,
    project: Project = None,
) -> dict[str, Any]:
    """One of a kind, by its name."""
    return services.feature_server.listing(kind, project, name)
