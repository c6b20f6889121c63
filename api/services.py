"""What the routes need, handed to them through the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from market.clock import Clock
from storage.metadata import Metadata
from storage.online import OnlineStore
from training_sets.builds import DatasetBuilds


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """The stores and facts behind the API.

    symbols: those the service follows. api_key: None asks for none. make_trace_id: a new id at each call.
    """

    online: OnlineStore
    metadata: Metadata
    builds: DatasetBuilds
    clock: Clock
    api_key: str | None
    make_trace_id: Callable[[], str]
    symbols: tuple[str, ...]
    raw_folder: Path
    versions_folder: Path


def services_of(request: Request) -> ApiServices:
    """The services that ``create_app`` was given."""
    services: ApiServices = request.app.state.services
    return services


Services = Annotated[ApiServices, Depends(services_of)]
