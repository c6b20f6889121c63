"""The HTTP application, made of its services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader

from api import datasets, features, health
from api.access import API_KEY_HEADER, Door
from api.errors import install_error_handlers
from api.services import ApiServices


def create_app(services: ApiServices) -> FastAPI:
    """The app on ``services``, which stay the caller's to close."""
    health_pool = ThreadPoolExecutor(health.CHECK_THREADS, thread_name_prefix="health")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        health_pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="Feature Service",
        description="Live features of market data, and training sets that hold what was served.",
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.health_pool = health_pool
    install_error_handlers(app)
    app.add_middleware(Door, api_key=services.api_key, make_trace_id=services.make_trace_id)
    # The door asks for the key; this only tells the OpenAPI page that it is asked for.
    documented = [Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False))]
    app.include_router(health.router)
    app.include_router(features.router, dependencies=documented)
    app.include_router(datasets.router, dependencies=documented)
    return app
