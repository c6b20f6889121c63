"""The API for an ASGI server of one's own: ``uvicorn runtime.asgi:create_app --factory --port 4900``.

``feature-service run`` is the usual way: it brings the other roles, and a protocol that is patient with slow readers.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from api import app as http
from market.errors import FeatureServiceError, InvalidSettings
from registry.serving import ServedVersion
from runtime.active_version import served_version_watch
from runtime.building import bookkeeping
from runtime.prepared import prepared_process
from runtime.role import STOP_DEADLINE_S, Role
from runtime.server_watch import ServerWatch
from runtime.serving import api_services, metrics_registry
from runtime.settings import Settings, load_settings
from runtime.wiring import metadata_store
from training_sets.builds.watch import BuildWatch

_log = logging.getLogger(__name__)


def create_app() -> http.Application:
    """The API on the settings of the environment and ``.env``; what it opens is closed when its lifespan ends.

    It is the role ``api`` alone: ``feature-service run --roles ingest,jobs`` on the same settings next to it takes
    messages in and builds. Embedded servers belong to the first process that starts them, so several workers want
    configured ones. The server's own address is used, not FEATURE_SERVICE_HOST and FEATURE_SERVICE_PORT.

    Raises InvalidSettings, also without an API key, since the address may be one that everybody reaches, and what
    preparing the servers raises.
    """
    settings = load_settings()
    if settings.feature_service_api_key is None:
        rule = "FEATURE_SERVICE_API_KEY: must be set where another server chooses the address, was not set"
        raise InvalidSettings("settings", [rule])
    with ExitStack() as opening:
        app, roles = _opened(settings, opening)
        stack = opening.pop_all()
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:  # noqa: ANN401  # Starlette's own type
        with stack, _running(roles):
            async with inner(application) as state:
                yield state

    app.router.lifespan_context = lifespan
    return app


def _opened(settings: Settings, stack: ExitStack) -> tuple[http.Application, list[Role]]:
    """The app, and the watches that run next to it."""
    prepared = stack.enter_context(prepared_process(settings, version=None))
    servers, stores = prepared.servers, prepared.stores
    serving = ServedVersion(prepared.version)
    services = stack.enter_context(
        api_services(settings, servers, stores, registry=metrics_registry(), serving=serving)
    )
    books = bookkeeping(settings, servers, stack.enter_context(metadata_store(servers)))
    builds = BuildWatch(books, stores.datasets)
    versions = stack.enter_context(served_version_watch(settings, servers, serving))
    roles = [Role("build watch", builds.run, builds.stop), Role("registry watch", versions.run, versions.stop)]
    if not prepared.places.is_prepared:
        roles.append(Role("object store", prepared.places.run, prepared.places.stop))
    if servers.embedded_pids:
        watch = ServerWatch(servers.embedded_pids, settings.feature_service_data_path)
        stack.callback(watch.close)
        roles.append(Role("server watch", watch.run, watch.stop))
    return http.create_app(services), roles


@contextmanager
def _running(roles: list[Role]) -> Iterator[None]:
    """Each in its thread; one that fails asks the whole process to end, as in ``feature-service run``."""

    def run(role: Role) -> None:
        try:
            role.run()
        except Exception as error:  # noqa: BLE001  # the top of a thread
            unexplained = None if isinstance(error, FeatureServiceError) else error
            _log.error("%s failed: %s", role.name, error, exc_info=unexplained)
            os.kill(os.getpid(), signal.SIGTERM)

    threads = [threading.Thread(target=run, args=(role,), name=role.name, daemon=True) for role in roles]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for role in roles:
            role.stop()
        for thread in threads:
            thread.join(STOP_DEADLINE_S)
