"""The reference model-service on a running service: trained on its dataset, fed by its vectors, both ways."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import aio_pika
import httpx
import pytest
from fastapi.testclient import TestClient

from examples.model_service.listening import CADENCE, LIVE
from examples.model_service.service import Config, create_app
from tests import waiting
from tests.broker import Broker
from tests.running_service import Running, running_service

KEY = "model-key"
DEADLINE_S = 240.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S, pause_s=0.1)
BEGINNER = "ETHUSDT"
FEATURES = ["spread_abs", "depth_bid_top5", "depth_ask_top5"]


@pytest.fixture(scope="module")
def running(broker: Broker, kernel_cache: Path) -> Iterator[Running]:
    with running_service(kernel_cache, minutes=3, api_key=KEY, broker=broker) as found:
        yield found


def test_a_model_is_trained_by_id_and_predicts_from_redis_and_from_the_stream_or_refuses(
    running: Running, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where downloaded datasets are kept
    folder = running.folder
    config = Config(
        repo_path=folder / "client",
        models=tmp_path / "models",
        service_url=running.url,
        api_key=KEY,
        broker_url=f"amqp://guest:guest@127.0.0.1:{broker.port}/",
    )
    with TestClient(create_app(config)) as models:
        dataset_id = running.build()
        eventually(lambda: [each["dataset_id"] for each in models.get("/model/datasets").json()] == [dataset_id])
        metadata = models.post("/model/train", json={"dataset_id": dataset_id, "features": FEATURES}).json()
        assert metadata["feature_registry_version"] == "1.0.0"
        assert metadata["features"] == FEATURES
        assert metadata["metrics"]["train"]["rmse"] <= metadata["metrics"]["train"]["rmse_of_mean"]
        assert metadata["metrics"]["test"]["rows"] > 0
        artifact = tmp_path / "models" / metadata["model_id"]
        assert json.loads((artifact / "metadata.json").read_text()) == metadata
        assert len(json.loads((artifact / "weights.json").read_text())["weights"]) == len(FEATURES)

        for source, name in (("feast", "feast"), ("live", "features.live")):
            asked = {"symbol": "BTCUSDT", "source": source}
            eventually(partial(is_predicted, models, asked))
            found = models.post("/model/predict", json=asked).json()
            assert (found["source"], found["model_id"]) == (name, metadata["model_id"])
            assert 0 < found["age_seconds"] < DEADLINE_S
            assert isinstance(found["prediction"], float)
        assert models.post("/model/predict", json={"symbol": "NOSUCH"}).status_code == 404

        check_refusals(models, folder / "datasets" / dataset_id, partial(send_a_beginner, running, broker))
    check_another_time_and_other_features(config)


def is_predicted(models: TestClient, asked: dict[str, str]) -> bool:
    return bool(models.post("/model/predict", json=asked).status_code == 200)


def send_a_beginner(running: Running, broker: Broker) -> None:
    """A row on ``features.live`` as the newest one is, of a symbol whose windows of trades are not whole yet.

    The service's own symbol warms up for fifteen seconds, which are over before a slow machine has trained.
    """
    with running.client() as client:
        document = client.get("/features/latest", params={"symbol": "BTCUSDT"}).json()
    document["symbol"] = BEGINNER
    document["features"].pop("vwap_15s", None)
    document["missing"]["vwap_15s"] = "WARMUP"

    async def publish(channel: aio_pika.abc.AbstractChannel) -> None:
        exchange = await channel.get_exchange(LIVE)
        await exchange.publish(aio_pika.Message(json.dumps(document).encode()), routing_key=CADENCE)

    broker.do(publish)


def check_refusals(models: TestClient, dataset: Path, send: Callable[[], None]) -> None:
    """A vector that lacks a feature is refused with its reason, and so is a request for two datasets.

    send: the row that lacks one; an older one is refused for its age.
    """
    asked = {"path": str(dataset), "features": [*FEATURES, "vwap_15s"]}
    assert models.post("/model/train", json=asked).status_code == 200
    answers: list[httpx.Response] = []

    def is_refused_for_what_it_lacks() -> bool:
        send()
        answers.append(models.post("/model/predict", json={"symbol": BEGINNER, "source": "live"}))
        return answers[-1].status_code == 409 and answers[-1].json()["error"] == "IncompleteVector"

    eventually(is_refused_for_what_it_lacks)
    warming = answers[-1]
    assert (warming.status_code, warming.json()["error"]) == (409, "IncompleteVector")
    assert "(WARMUP)" in warming.json()["message"]
    both = models.post("/model/train", json={"path": str(dataset), "dataset_id": "x"})
    assert both.status_code == 400


def check_another_time_and_other_features(config: Config) -> None:
    """By a clock that is a minute ahead the newest vector is too old, and an artifact may be of other features.

    The models are those that were kept in the folder.
    """
    [path, *_] = config.models.iterdir()
    other = config.models / "other"
    shutil.copytree(path, other)
    metadata = json.loads((path / "metadata.json").read_text())
    (other / "metadata.json").write_text(json.dumps(metadata | {"model_id": "other", "feature_set": "another"}))
    now = config.now
    later = Config(repo_path=config.repo_path, models=config.models, now=lambda: now() + timedelta(minutes=1))
    with TestClient(create_app(later)) as models:
        for model_id, error in ((path.name, "StaleVector"), ("other", "OtherFeatures")):
            refused = models.post("/model/predict", json={"symbol": "BTCUSDT", "model_id": model_id})
            assert (refused.status_code, refused.json()["error"]) == (409, error)
