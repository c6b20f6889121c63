"""Health and readiness: what the service can and cannot reach, answered within a bound whatever hangs."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from api import checks
from api.checks import Answer, Check, ask, store_checks
from api.computations import COMPUTATIONS, computations_check
from api.feature_log import FEATURE_LOG, INGEST, feature_log_check, ingest_check
from api.openapi import answers
from api.schemas import Health, HealthOfServices, Readiness
from api.services import OfProcess, ProcessServices
from api.upkeep import UPKEEP, late_tasks, states_of, upkeep_check
from market.clock import SECOND_NS, format_iso
from storage.online.vector import OnlineVector
from transforms.status import GAP, QUARANTINED, STALE, STATUS_NAMES

OLDEST_ROW_NS: Final = 30 * SECOND_NS
"""A newest row that is older says that nothing computes any more."""
RETRY_AFTER_S: Final = 5
MOST_NAMED: Final = 5
"""Symbols, or their troubles, that one reason names: there may be hundreds."""

_NO_QUEUE: Final = "this process uses no message queue"
_NONE_YET: Final = "there is none yet"

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(request: Request, services: OfProcess) -> Health:
    """Status "ok", or "degraded" with the services that are down or the upkeep that is late; 200 in both cases.

    Unknown fields say why.
    """
    others = {
        UPKEEP: upkeep_check(services),
        COMPUTATIONS: computations_check(services),
        FEATURE_LOG: feature_log_check(services),
        INGEST: ingest_check(services),
    }
    answers = await _ask(request, services, **others)
    upkeep, computations = answers.pop(UPKEEP), answers.pop(COMPUTATIONS)
    late = late_tasks(states_of(upkeep))
    now_ns = services.clock.now_ns()
    database, online, registry = answers["database"], answers["online_store"], answers["registry"]
    queue = answers.get("message_queue")
    vectors: Sequence[OnlineVector] = online.found.get("vectors", ())
    troubles = [trouble for vector in vectors for trouble in row_troubles(vector, now_ns)]
    known: dict[str, tuple[Any, str | None]] = {
        "queue_connected": (
            None if queue is None else queue.reason is None,
            _NO_QUEUE if queue is None else queue.reason,
        ),
        "latest_feature_computation_timestamp": (
            format_iso(max(vector.available_ns for vector in vectors)) if vectors else None,
            online.reason or _NONE_YET,
        ),
        "data_quality_ok": (not troubles if vectors else None, named(troubles, "; ") or online.reason or _NONE_YET),
        "average_latency_ms_last_5min": (computations.found.get("mean_ms"), computations.reason),
        "active_dataset_builds_count": (database.found.get("active_builds"), database.reason),
        "last_dataset_build_duration_seconds": (
            database.found.get("last_build_seconds"),
            database.reason or _NONE_YET,
        ),
    }
    reasons = {name: answer.reason for name, answer in answers.items() if answer.reason is not None}
    reasons |= {
        name: why for name, (value, why) in known.items() if why is not None and (value is None or value is False)
    }
    if queue is None:
        reasons["message_queue"] = _NO_QUEUE
    if late or upkeep.reason is not None:
        reasons[UPKEEP] = "; ".join(late) or str(upkeep.reason)
    return Health(
        status="ok" if not late and all(answer.reason is None for answer in answers.values()) else "degraded",
        timestamp=format_iso(now_ns),
        services=HealthOfServices(
            database=_state(database),
            message_queue="not_used" if queue is None else _state(queue),
            online_store=_state(online),
            tape=_state(answers["tape"]),
            upkeep="unknown" if upkeep.reason is not None else "late" if late else "ok",
        ),
        database_connected=database.reason is None,
        feature_registry_loaded=registry.reason is None,
        reasons=reasons,
        **{name: value for name, (value, _) in known.items()},
    )


@router.get("/ready", responses={422: answers()[422], 503: {"model": Readiness}})
async def ready(
    request: Request,
    services: OfProcess,
    max_age_s: Annotated[
        float | None, Query(gt=0, description="How old the newest row of a symbol that has one may be, seconds.")
    ] = None,
) -> JSONResponse:
    """200 once every store responds, a followed symbol has a row and ingest waits for nothing; else 503 says why.

    How old that row is does not matter without ``max_age_s``: rows that come late leave everything else to be served.
    """
    answers = await _ask(request, services, **{INGEST: ingest_check(services)})
    missing = [answer.reason for answer in answers.values() if answer.reason is not None]
    online, now_ns = answers["online_store"], services.clock.now_ns()
    vectors: Sequence[OnlineVector] = online.found.get("vectors", ())
    if online.reason is None and not vectors:
        missing.append(f"features: must be served for one of {named(services.symbols)}, were for none")
    if max_age_s is not None:
        too_old = [old for vector in vectors if (old := row_too_old(vector, now_ns, max_age_s)) is not None]
        missing += too_old[:MOST_NAMED]
        if len(too_old) > MOST_NAMED:
            missing.append(f"{len(too_old) - MOST_NAMED} more symbols: newest row must be newer")
    ages_s = [vector.age_ns(now_ns) / SECOND_NS for vector in vectors]
    document = Readiness(ready=not missing, missing=missing, oldest_row_age_s=max(ages_s, default=None))
    if not missing:
        return JSONResponse(document.model_dump())
    return JSONResponse(
        document.model_dump(), HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(RETRY_AFTER_S)}
    )


def row_troubles(vector: OnlineVector, now_ns: int) -> list[str]:
    """What is wrong with a symbol's newest row: its age, or a group whose data broke off. Not WARMUP, NO_DATA."""
    too_old = row_too_old(vector, now_ns, OLDEST_ROW_NS / SECOND_NS)
    troubles = [] if too_old is None else [too_old]
    troubles += [
        f"{vector.symbol} {group}: must not be GAP, STALE nor QUARANTINED, was {STATUS_NAMES[status]}"
        for group, status in vector.statuses.items()
        if status in {GAP, STALE, QUARANTINED}
    ]
    return troubles


def row_too_old(vector: OnlineVector, now_ns: int, max_age_s: float) -> str | None:
    """What is wrong with the age of a symbol's newest row; None where it is at most ``max_age_s``."""
    age_ns = vector.age_ns(now_ns)
    if age_ns <= max_age_s * SECOND_NS:
        return None
    return f"{vector.symbol}: newest row must be at most {max_age_s:g} s old, was {age_ns // SECOND_NS}"


async def _ask(request: Request, services: ProcessServices, **others: Check) -> dict[str, Answer]:
    # Their own threads and a deadline: requests that hang in a store must not keep these routes from answering.
    return await ask(request.app.state.check_pool, {**store_checks(services), **others}, checks.DEADLINE_S)


def named(told: Sequence[str], separator: str = ", ") -> str:
    """The first few of them, and how many more there are."""
    others = len(told) - MOST_NAMED
    return separator.join(told[:MOST_NAMED]) + (f" and {others} more" if others > 0 else "")


def _state(answer: Answer) -> Literal["ok", "unavailable"]:
    return "ok" if answer.reason is None else "unavailable"
