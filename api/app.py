"""The HTTP applications, made of their services: the whole API, and the probe of a process without it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from fastapi import Depends, FastAPI, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from api import (
    alerts,
    backfill,
    cache,
    catalogue,
    checks,
    console,
    coverage,
    datasets,
    evaluation,
    feast_registry,
    feature_costs,
    feature_server,
    features,
    freshness,
    health,
    market,
    metrics,
    moment,
    quality,
    registry,
    stats,
    stream,
    study,
)
from api.access import API_KEY_HEADER, TRACE_HEADER, Door
from api.errors import install_error_handlers
from api.heads import Heads
from api.known_query import refuse_unknown_query
from api.limits import Limits, RequestLimits
from api.metrics import HttpMetrics, Measured
from api.openapi import ASSETS, OF_A_BODY, answers, operation_id
from api.requests import RequestNotes
from api.services import ApiServices, ProcessServices
from market.clock import SECOND_NS

Application: TypeAlias = FastAPI
"""What a server runs."""
TITLE: Final = "Feature Service"
DESCRIPTION: Final = "Live features of market data, and training sets of exactly what was served."


def create_app(services: ApiServices) -> FastAPI:
    """The whole API on ``services``, which stay the caller's to close."""
    app = _app(
        services,
        api_key=services.api_key,
        limits=services.limits,
        keep_request=None if services.requests is None else services.requests.add,
        title=TITLE,
        description=DESCRIPTION,
    )
    _add_routes(app)
    if services.cors_origins:
        # Outermost: a browser asks what it may before it shows the key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=services.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=[API_KEY_HEADER, TRACE_HEADER, "Content-Type"],
            expose_headers=[TRACE_HEADER, "Retry-After"],
        )
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of ``create_app``, made without services: of its routes alone."""
    app = FastAPI(title=TITLE, description=DESCRIPTION, generate_unique_id_function=operation_id)
    _add_open_routes(app)
    _add_routes(app)
    return app.openapi()


def _add_routes(app: FastAPI) -> None:
    # The door asks for the key; this only tells the OpenAPI page that it is asked for.
    documented = [Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False))]
    of_feast = (feature_server.router, feast_registry.router)
    for router, errors in (
        (features.router, (400, 404)),
        (feature_server.router, (400, 404, *OF_A_BODY)),  # early: what is asked most often is found soonest
        (moment.router, (400, 404)),
        (market.router, (404,)),
        (study.router, (400, 404)),
        (feast_registry.router, (400, 404)),
        (catalogue.router, ()),
        (feature_costs.router, (409,)),
        (freshness.router, ()),
        (stream.router, (404,)),
        (datasets.router, (400, 404, 409, *OF_A_BODY)),
        (backfill.router, (400, 404, 409, *OF_A_BODY)),
        (cache.router, (400, 404, *OF_A_BODY)),
        (evaluation.router, (400, 404, 409, *OF_A_BODY)),
        (quality.router, (400, 404, 409)),
        (coverage.router, (400, 404, 409)),
        (stats.router, ()),
        (registry.router, (400, 404, 409, *OF_A_BODY)),
        (alerts.router, ()),
    ):
        # Feast's clients may send what only Feast's own server knows.
        ours = [] if router in of_feast else [Depends(refuse_unknown_query)]
        app.include_router(router, dependencies=[*documented, *ours], responses=answers(*errors))
    app.include_router(console.router, responses=answers())  # open: it holds no number


def _add_open_routes(app: FastAPI) -> None:
    app.include_router(health.router)
    app.include_router(metrics.router)


def create_probe(services: ProcessServices) -> FastAPI:
    """Health, readiness and metrics alone: for a process that runs without the API. They are open, as in the API."""
    return _app(
        services,
        api_key=None,
        limits=RequestLimits(),
        title="Feature Service, a process",
        description="Health of this process.",
    )


def _app(
    services: ProcessServices,
    *,
    api_key: str | None,
    limits: RequestLimits,
    title: str,
    description: str,
    keep_request: Callable[[Mapping[str, Any]], object] | None = None,
) -> FastAPI:
    check_pool = ThreadPoolExecutor(checks.CHECK_THREADS, thread_name_prefix="check")
    # Apart from the checks: counting the files of a large folder must not keep health from answering.
    stats_pool = ThreadPoolExecutor(stats.THREADS, thread_name_prefix="stats")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if isinstance(services, ApiServices):
            await services.feed.ended()
        for pool in (check_pool, stats_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPIOffline(
        title=title,
        description=description,
        lifespan=lifespan,
        static_url=ASSETS,
        generate_unique_id_function=operation_id,
    )
    app.state.services = services
    app.state.check_pool = check_pool
    app.state.stats_pool = stats_pool
    app.state.http_metrics = HttpMetrics(CollectorRegistry())
    install_error_handlers(app)
    app.add_middleware(Heads)
    app.add_middleware(Limits, limits=limits, caller_header=API_KEY_HEADER, now_s=time.monotonic)
    app.add_middleware(
        Door, api_key=api_key, make_trace_id=services.make_trace_id, now_s=lambda: services.clock.now_ns() // SECOND_NS
    )
    notes = RequestNotes(services.clock, keep_request)
    app.add_middleware(Measured, metrics=app.state.http_metrics, notes=notes)
    _add_open_routes(app)
    return app
