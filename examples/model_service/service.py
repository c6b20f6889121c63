"""The service over HTTP: train on a dataset, predict from a vector as it was served."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from examples.model_service.listening import listen
from examples.model_service.model import Model, train
from examples.model_service.vectors import LiveVectors, OnlineVectors, checked
from feature_client import Dataset, FeatureStoreClient
from market.clock import SystemClock, to_datetime
from market.errors import Conflict, FeatureServiceError, InvalidRequest, NotFound, StoreUnavailable

MOST_ANNOUNCED: Final = 100
STATUS: Final = {InvalidRequest: 400, NotFound: 404, Conflict: 409, StoreUnavailable: 503}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """repo_path: the folder ``client`` that the service writes. models: where artifacts are kept.

    service_url, api_key: where datasets are downloaded from. broker_url: None listens to nothing. max_age: how old a
    vector may be. trains_on_ready: whether each dataset that is announced as ready is trained on.
    """

    repo_path: Path
    models: Path
    service_url: str | None = None
    api_key: str | None = None
    broker_url: str | None = None
    max_age: timedelta = timedelta(seconds=3)
    trains_on_ready: bool = False
    now: Callable[[], datetime] = lambda: to_datetime(SystemClock().now_ns())


class TrainRequest(BaseModel):
    """Either an id, which is downloaded from the service, or the path of a dataset's folder."""

    dataset_id: str | None = None
    path: Path | None = None
    features: list[str] = Field(default=[], description="In this order; none takes those that are mostly known.")
    target: str | None = None


class PredictRequest(BaseModel):
    """source: Feast's online store, or the newest row that ``features.live`` brought."""

    symbol: str
    model_id: str | None = Field(default=None, description="The newest model unless it is named.")
    source: Literal["feast", "live"] = "feast"


class Prediction(BaseModel):
    model_id: str
    symbol: str
    target: str
    prediction: float
    source: str
    row_time: datetime
    age_seconds: float
    feature_registry_version: str


class ModelService:
    """Models in memory and in their folder, the vectors that were heard, the datasets that were announced."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client = FeatureStoreClient(config.repo_path)
        self._online = OnlineVectors(config.repo_path)
        self.live = LiveVectors()
        self.announced: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()
        config.models.mkdir(parents=True, exist_ok=True)
        kept = sorted(
            (path for path in config.models.iterdir() if not path.name.startswith(".")),
            key=lambda path: path.stat().st_mtime_ns,
        )
        self._models = {path.name: Model.load(path) for path in kept}

    def models(self) -> list[dict[str, Any]]:
        """Newest last."""
        return [asdict(model.metadata) for model in self._models.values()]

    def train(self, asked: TrainRequest) -> Model:
        """Train, keep the artifact, and predict with it from now on."""
        if (asked.dataset_id is None) == (asked.path is None):
            raise InvalidRequest("dataset: must be named by either dataset_id or path, was both or neither")
        dataset = self._dataset(asked)
        model = train(dataset, model_id=uuid.uuid4().hex, features=asked.features, target=asked.target)
        with self._lock:
            model.save(self._config.models)
            self._models[model.metadata.model_id] = model
        return model

    def predict(self, asked: PredictRequest) -> Prediction:
        """Raises NotFound, and Conflict where the vector must not be acted on."""
        model = self._model(asked.model_id)
        metadata, now = model.metadata, self._config.now()
        found = (
            self.live.read(asked.symbol)
            if asked.source == "live"
            else self._online.read(asked.symbol, metadata.feature_registry_version, metadata.features)
        )
        vector = checked(found, metadata, now=now, max_age=self._config.max_age)
        return Prediction(
            model_id=metadata.model_id,
            symbol=asked.symbol,
            target=metadata.target,
            prediction=model.predict(vector.values),
            source=vector.source,
            row_time=vector.row_time,
            age_seconds=(now - vector.row_time).total_seconds(),
            feature_registry_version=vector.feature_registry_version,
        )

    def take_announcement(self, notice: dict[str, Any]) -> None:
        """Remember it; train on it when that is asked for. A dataset that cannot be trained on is logged."""
        self.announced[notice["dataset_id"]] = notice
        if len(self.announced) > MOST_ANNOUNCED:
            self.announced.popitem(last=False)
        if self._config.trains_on_ready and notice["status"] == "ready":
            try:
                self.train(TrainRequest(dataset_id=notice["dataset_id"]))
            except InvalidRequest as error:
                _log.warning("dataset %s: %s", notice["dataset_id"], error)

    def close(self) -> None:
        self._client.close()

    def _dataset(self, asked: TrainRequest) -> Dataset:
        if asked.path is not None:
            return self._client.dataset(asked.path)
        assert asked.dataset_id is not None
        return self._client.dataset(asked.dataset_id, url=self._config.service_url, api_key=self._config.api_key)

    def _model(self, model_id: str | None) -> Model:
        if not self._models:
            raise NotFound("model: must be trained first, none is; POST /model/train trains one")
        if model_id is None:
            return next(reversed(self._models.values()))
        if model_id not in self._models:
            raise NotFound(f"model: must be one of {', '.join(self._models)}, was {model_id!r}")
        return self._models[model_id]


def create_app(config: Config) -> FastAPI:
    """The application; it listens while it runs."""
    service = ModelService(config)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        listening = None
        if config.broker_url is not None:
            listening = asyncio.create_task(
                listen(config.broker_url, on_row=service.live.take, on_dataset=service.take_announcement)
            )
        yield
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        service.close()

    app = FastAPI(title="Model service", lifespan=lifespan)

    @app.exception_handler(FeatureServiceError)
    async def refuse(_request: Request, error: FeatureServiceError) -> JSONResponse:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
        document = {"error": type(error).__name__, "message": str(error)}
        return JSONResponse(document, HTTPStatus(status))

    @app.post("/model/train")
    def train_model(asked: TrainRequest) -> dict[str, Any]:
        """The metadata of the new model."""
        return asdict(service.train(asked).metadata)

    @app.post("/model/predict")
    def predict(asked: PredictRequest) -> Prediction:
        """409 for a vector that is stale, incomplete or of other features than the model's."""
        return service.predict(asked)

    @app.get("/model/list")
    def list_models() -> list[dict[str, Any]]:
        return service.models()

    @app.get("/model/datasets")
    def list_datasets() -> list[dict[str, Any]]:
        """What was announced since the start, newest last."""
        return list(service.announced.values())

    return app
