"""The figures of this process for Prometheus, and the time that its answers take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import checks
from api.alerts import ALERTS, alert_families, alerts_check
from api.checks import Answer, ask, store_checks
from api.freshness import FRESHNESS, freshness_check, freshness_families
from api.requests import RequestNotes
from api.services import OfProcess
from api.upkeep import UPKEEP, states_of, upkeep_check, upkeep_families
from market.clock import SECOND_NS

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.004, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
UNROUTED: Final = "none"

router = APIRouter(tags=["health"])


class HttpMetrics:
    """How long this process took until each answer began: a histogram by route.

    timer: seconds that never step back.
    """

    def __init__(self, registry: CollectorRegistry, *, timer: Callable[[], float] = time.perf_counter) -> None:
        self.registry = registry
        self.timer = timer
        self._histogram = Histogram(
            "feature_service_http_request_seconds",
            "Seconds from a request to the start of its response.",
            ("method", "route", "status"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, *, method: str, route: str, status: int, began: float) -> float:
        """Count an answer that begins now to a request that came at ``began``; the seconds between.

        route: a template, not a path.
        """
        now = self.timer()
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            self._children[key] = child = self._histogram.labels(method, route, str(status))
        child.observe(now - began)
        return now - began


class Measured:
    """ASGI middleware that reports each response to ``metrics`` and ``notes``.

    Until its beginning: a stream lasts as its reader likes.
    """

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics, notes: RequestNotes) -> None:
        self._app = app
        self._metrics = metrics
        self._notes = notes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._metrics.timer()
        status: int | None = None

        async def send_measured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                self._observe(scope, status, began)
            await send(message)

        try:
            await self._app(scope, receive, send_measured)
        finally:
            if status is None:  # it failed in here, and is answered outside of every middleware
                self._observe(scope, HTTPStatus.INTERNAL_SERVER_ERROR, began)

    def _observe(self, scope: Scope, status: int, began: float) -> None:
        # A path or method that no route has is not a label: callers could invent labels without end.
        route = scope.get("route")
        path = UNROUTED if route is None else str(route.path)
        method = UNROUTED if route is None else str(scope["method"])
        seconds = self._metrics.observe(method=method, route=path, status=int(status), began=began)
        self._notes(scope, route=path, status=int(status), seconds=seconds)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, services: OfProcess) -> Response:
    """Prometheus text: this process's metrics, and those of the stores at the time of the request."""
    asking = {
        **store_checks(services),
        UPKEEP: upkeep_check(services),
        FRESHNESS: freshness_check(services),
        ALERTS: alerts_check(services),
    }
    answers = await ask(request.app.state.check_pool, asking, checks.DEADLINE_S)
    kept = [
        *upkeep_families(states_of(answers.pop(UPKEEP))),
        *freshness_families(answers.pop(FRESHNESS)),
        *alert_families(answers.pop(ALERTS)),
    ]
    asked = CollectorRegistry(auto_describe=False)
    asked.register(_Asked([*_families(answers, services.clock.now_ns()), *kept]))
    registries = (services.registry, request.app.state.http_metrics.registry, asked)
    return Response(b"".join(map(generate_latest, registries)), media_type=CONTENT_TYPE_LATEST)


class _Asked:
    """A collector of what was just found out."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _families(answers: Mapping[str, Answer], now_ns: int) -> list[Metric]:
    up = GaugeMetricFamily("feature_service_store_up", "1 when the store responds, else 0.", labels=["store"])
    for name, answer in answers.items():
        up.add_metric([name], float(answer.reason is None))
    age = GaugeMetricFamily(
        "feature_service_online_row_age_seconds", "Age of the newest row in the online store.", labels=["symbol"]
    )
    latency = GaugeMetricFamily(
        "feature_service_online_row_latency_seconds",
        "Time from the newest row's timestamp until it could be read.",
        labels=["symbol"],
    )
    for vector in answers["online_store"].found.get("vectors", ()):
        age.add_metric([vector.symbol], vector.age_ns(now_ns) / SECOND_NS)
        latency.add_metric([vector.symbol], (vector.available_ns - vector.row_ns) / SECOND_NS)
    families: list[Any] = [up, age, latency]
    if (active := answers["database"].found.get("active_builds")) is not None:
        families.append(
            GaugeMetricFamily("feature_service_dataset_builds_active", "Running dataset builds.", value=active)
        )
    return families
