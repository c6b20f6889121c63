"""The HTTP applications, made of their services: the whole API, and the probe of a process without it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeAlias

from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader
from prometheus_client import CollectorRegistry

from api import (
    backfill,
    cache,
    checks,
    datasets,
    evaluation,
    features,
    freshness,
    health,
    metrics,
    quality,
    stats,
    stream,
)
from api.access import API_KEY_HEADER, Door
from api.errors import install_error_handlers
from api.limits import Limits, RequestLimits
from api.metrics import HttpMetrics, Measured
from api.services import ApiServices, ProcessServices

Application: TypeAlias = FastAPI
"""What a server runs."""


def create_app(services: ApiServices) -> FastAPI:
    """The whole API on ``services``, which stay the caller's to close."""
    app = _app(
        services,
        api_key=services.api_key,
        limits=services.limits,
        title="Feature Service",
        description="Live features of market data, and training sets that hold what was served.",
    )
    # The door asks for the key; this only tells the OpenAPI page that it is asked for.
    documented = [Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False))]
    app.include_router(features.router, dependencies=documented)
    app.include_router(freshness.router, dependencies=documented)
    app.include_router(stream.router, dependencies=documented)
    app.include_router(datasets.router, dependencies=documented)
    app.include_router(backfill.router, dependencies=documented)
    app.include_router(cache.router, dependencies=documented)
    app.include_router(evaluation.router, dependencies=documented)
    app.include_router(quality.router, dependencies=documented)
    app.include_router(stats.router, dependencies=documented)
    return app


def create_probe(services: ProcessServices) -> FastAPI:
    """Health, readiness and metrics alone: for a process that runs without the API. They are open, as in the API."""
    return _app(
        services,
        api_key=None,
        limits=RequestLimits(),
        title="Feature Service, a process",
        description="How this process is.",
    )


def _app(
    services: ProcessServices, *, api_key: str | None, limits: RequestLimits, title: str, description: str
) -> FastAPI:
    check_pool = ThreadPoolExecutor(checks.CHECK_THREADS, thread_name_prefix="check")
    # Apart from the checks: counting the files of a large folder must not keep health from answering.
    stats_pool = ThreadPoolExecutor(stats.THREADS, thread_name_prefix="stats")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        for pool in (check_pool, stats_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title=title, description=description, lifespan=lifespan)
    app.state.services = services
    app.state.check_pool = check_pool
    app.state.stats_pool = stats_pool
    app.state.http_metrics = HttpMetrics(CollectorRegistry())
    install_error_handlers(app)
    app.add_middleware(Limits, limits=limits, caller_header=API_KEY_HEADER, now_s=time.monotonic)
    app.add_middleware(Door, api_key=api_key, make_trace_id=services.make_trace_id)
    app.add_middleware(Measured, metrics=app.state.http_metrics)
    app.include_router(health.router)
    app.include_router(metrics.router)
    return app
