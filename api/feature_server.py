"""Routes of Feast's feature server: what its clients in any language ask, answered from our online store.

Errors are as Feast's clients read them: a JSON text that holds module, class and message. They ask again after 429 and
5xx, so that a request that does not fit is 4xx.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from api.errors import error_response, malformed, told_to_callers
from api.online_answer import online_answer, truthful
from api.services import ApiServices, Services
from feature_repo.registry_versions import version_of_service
from feature_repo.serving import as_feast_spells
from feature_repo.serving_plan import ServingPlan
from market.clock import parse_iso_ns, to_datetime
from market.errors import FeastRefusal, FeatureServiceError, InvalidRequest

MOST_CELLS: Final = 1_000_000
"""Of one answer: entity rows times features."""

Rows = Annotated[dict[str, list[Any]], Field(description="Columns by name, of one length.")]


class OnlineFeaturesRequest(BaseModel):
    """entities: by join key the values asked for. features: as view:feature, or the name of a feature service."""

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


class PushRequest(BaseModel):
    push_source_name: str
    df: Rows
    allow_registry_cache: bool = True
    to: Literal["online", "offline", "online_and_offline"] = "online"
    transform_on_write: Literal[True] = True


class WriteRequest(BaseModel):
    feature_view_name: str
    df: Rows
    allow_registry_cache: bool = True
    transform_on_write: Literal[True] = True


class MaterializeIncrementalRequest(BaseModel):
    """feature_views: default: every view except ours, whose rows ingest writes."""

    end_ts: str
    feature_views: list[str] | None = None


class MaterializeRequest(MaterializeIncrementalRequest):
    start_ts: str


class FeatureVectorColumn(BaseModel):
    """One name of ``metadata.feature_names``: a value, a status and a row time for each entity row."""

    values: list[Any]
    statuses: list[Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]]
    event_timestamps: list[str]


class OnlineFeaturesMetadata(BaseModel):
    feature_names: list[str]
    feature_view_metadata: list[dict[str, Any]] = []


class OnlineFeaturesAnswer(BaseModel):
    """As Feast's clients read it: keys first, then the features in the order asked."""

    metadata: OnlineFeaturesMetadata
    results: list[FeatureVectorColumn]


class FeastRoute(APIRoute):
    """A route whose errors are spelled as Feast's clients read them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that answers errors too."""
        answered = self.answered()

        async def handler(request: Request) -> Response:
            try:
                return await answered(request)
            except RequestValidationError as error:
                return _refused(malformed(error), request)
            except FeatureServiceError as error:
                return _refused(error, request)

        return handler

    def answered(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler without its errors."""
        return super().get_route_handler()


class OnlineFeaturesRoute(FeastRoute):
    """The route that reads features: to find its arguments out costs FastAPI as much as the answer."""

    def answered(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that takes its request from the body as it came."""
        return _online_features_of


router = APIRouter(tags=["feature server"], route_class=FeastRoute)


def get_online_features(asked: OnlineFeaturesRequest, services: Services) -> Response:
    """The newest feature values of each entity row, in the format of Feast's feature server.

    The feature service of a registry version that is served neither as active nor as shadow gives a 409. Only
    PRESENT values are returned: one older than the time to live of its view is OUTSIDE_MAX_AGE.
    """
    lengths = {len(values) for values in asked.entities.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise InvalidRequest(f"entities: must be lists of one length, at least 1, was {sorted(lengths)}")
    names = asked.full_feature_names
    plan = services.feature_server.plan(asked.features, asked.feature_service, full_names=names)
    now_ns = services.clock.now_ns()
    if plan.is_computed:
        found = services.feature_server.computed(
            asked.features, asked.feature_service, asked.entities, full_names=names
        )
        return JSONResponse(truthful(found, plan, now_ns=now_ns))
    if (cells := len(plan.columns) * lengths.pop()) > MOST_CELLS:
        raise InvalidRequest(f"entities: must request at most {MOST_CELLS} values, rows times features, was {cells}")
    for view in plan.views:
        for join_key, name in view.keys.items():
            if name not in asked.entities and not join_key.startswith("__"):
                raise InvalidRequest(f"entities: must have {name}, a key of {view.name}, was {sorted(asked.entities)}")
    document = online_answer(
        plan,
        asked.entities,
        _keys(services, plan, asked.entities),
        services.online.fields,
        now_ns=now_ns,
        names_versions=asked.include_feature_view_version_metadata,
        version=None if asked.feature_service is None else version_of_service(asked.feature_service),
    )
    return Response(document, media_type="application/json")


async def _online_features_of(request: Request) -> Response:
    body = await request.body()
    return await run_in_threadpool(_answer_to, body, request.app.state.services)


def _answer_to(body: bytes, services: ApiServices) -> Response:
    try:
        asked = OnlineFeaturesRequest.model_validate_json(body)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(found) from error
    return get_online_features(asked, services)


router.add_api_route(
    "/get-online-features",
    get_online_features,
    methods=["POST"],
    responses={200: {"model": OnlineFeaturesAnswer}},
    route_class_override=OnlineFeaturesRoute,
)


@router.post("/push")
def push(asked: PushRequest, services: Services) -> None:
    """Write rows to the views behind a push source; only ingest writes our own views."""
    services.feature_server.push(asked.push_source_name, asked.df, asked.to, now=to_datetime(services.clock.now_ns()))


@router.post("/write-to-online-store")
def write_to_online_store(asked: WriteRequest, services: Services) -> None:
    """Write rows of one view to the online store; only ingest writes our own views."""
    services.feature_server.write(asked.feature_view_name, asked.df, now=to_datetime(services.clock.now_ns()))


@router.post("/materialize")
def materialize(asked: MaterializeRequest, services: Services) -> None:
    """Copy the newest rows of views between two times from their sources to the online store."""
    services.feature_server.materialize(
        asked.feature_views, _moment(asked.start_ts, "start_ts"), _moment(asked.end_ts, "end_ts")
    )


@router.post("/materialize-incremental")
def materialize_incremental(asked: MaterializeIncrementalRequest, services: Services) -> None:
    """Copy the newest rows of views, since each was last materialized, from their sources to the online store."""
    services.feature_server.materialize(asked.feature_views, None, _moment(asked.end_ts, "end_ts"))


def _keys(services: ApiServices, plan: ServingPlan, entities: Mapping[str, list[Any]]) -> list[list[bytes]]:
    """Of each view, the key of each entity row's hash; those of ours are of symbols, and made once."""
    of_symbols: dict[str, list[bytes]] = {}
    found = []
    for view in plan.views:
        if not view.is_ours:
            found.append(services.feature_server.entity_keys(plan, view, entities))
            continue
        [name] = view.keys.values()
        if name not in of_symbols:
            of_symbols[name] = _keys_of_symbols(services, name, entities[name])
        found.append(of_symbols[name])
    return found


def _keys_of_symbols(services: ApiServices, name: str, symbols: list[Any]) -> list[bytes]:
    for symbol in symbols:
        if not isinstance(symbol, str):
            raise InvalidRequest(f"entities.{name}: must be texts, was {symbol!r}")
    return [services.online.key(symbol) for symbol in symbols]


def _moment(text: str, name: str) -> datetime:
    try:
        return to_datetime(parse_iso_ns(text))
    except ValueError as error:
        raise InvalidRequest(f"{name}: must be an ISO time, was {text!r}") from error


def _refused(error: FeatureServiceError, request: Request) -> Response:
    if isinstance(error, FeastRefusal):
        return JSONResponse(told_to_callers(error.detail), error.status)
    ours = error_response(error, request.state.trace_id)
    if ours.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        return ours
    headers = {"Retry-After": ours.headers["Retry-After"]} if "Retry-After" in ours.headers else None
    return JSONResponse(told_to_callers(as_feast_spells(error)), ours.status_code, headers)
