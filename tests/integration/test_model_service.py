"""The reference model-service on a running service: trained on its dataset, fed by its vectors, both ways."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from examples.model_service.service import Config, create_app
from ingestion.pipeline.pipeline import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS, SystemClock, floor_to, format_iso
from runtime.commands.options import settings_for
from runtime.settings import Settings
from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline
from tests import waiting
from tests.broker import Broker
from tests.ports import free_port

KEY = "model-key"
DEADLINE_S = 90.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S, pause_s=0.1)
FEATURES = ["spread_abs", "depth_bid_top5", "depth_ask_top5"]
ROOT = Path(__file__).parents[2]


def played(settings: Settings, minutes: int) -> int:
    """Some minutes of the market that end now, on the tape, in raw Parquet and in the feature log; their first time."""
    start_ns = floor_to(SystemClock().now_ns(), SECOND_NS) - minutes * MINUTE_NS
    pipeline = make_pipeline(settings, compiled_kernel(settings, "1.0.0"), availability=available_as_if_live)
    with closing(pipeline):
        play(pipeline, simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=start_ns, duration_ns=minutes * MINUTE_NS))
    compact_tape(settings.raw_data_storage_path, "BTCUSDT", instrument_pins(settings))
    return start_ns


@pytest.fixture(scope="module")
def running(broker: Broker, kernel_cache: Path) -> Iterator[tuple[str, Path, int]]:
    """The address of a running service, its data folder, and when its history begins."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fs-")))
        port = free_port()
        environment = {
            **os.environ,
            "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
            "FEATURE_SERVICE_API_KEY": KEY,
            "FEATURE_SERVICE_PORT": str(port),
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": str(broker.port),
            "REDIS_HOST": "",
            "POSTGRES_HOST": "",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FEATURE_SERVICE_CACHE_PATH", str(kernel_cache.parent))
            start_ns = played(settings_for(folder), 3)
        log = stack.enter_context((folder / "log").open("wb"))
        command = [sys.executable, "-c", "from runtime.cli import main; main()", "run", "--registry", "1.0.0"]
        process = subprocess.Popen(
            [*command, "--data", str(folder)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            url = f"http://127.0.0.1:{port}"

            def is_ready() -> bool:
                assert process.poll() is None, (folder / "log").read_text()[-3000:]
                try:
                    return httpx.get(f"{url}/ready").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(is_ready)
            yield url, folder, start_ns
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, (folder / "log").read_text()[-3000:]


def build(url: str, start_ns: int) -> str:
    """A dataset of the played minutes through the API; its id once it is ready."""

    def at(seconds: int) -> str:
        return format_iso(start_ns + seconds * SECOND_NS)

    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=30) as client:
        started = client.post(
            "/dataset/build",
            json={
                "symbol": "BTCUSDT",
                "train_period_start": at(10),
                "train_period_end": at(90),
                "validation_period_start": at(90),
                "validation_period_end": at(120),
                "test_period_start": at(120),
                "test_period_end": at(150),
                "target_config": {"type": "regression", "horizon": "5s"},
            },
        )
        assert started.status_code == 202, started.text
        dataset_id = str(started.json()["dataset_id"])
        eventually(lambda: client.get(f"/dataset/{dataset_id}").json()["status"] != "building")
        document = client.get(f"/dataset/{dataset_id}").json()
        assert document["status"] == "ready", document["error_message"]
        return dataset_id


def test_a_model_is_trained_by_id_and_predicts_from_redis_and_from_the_stream_or_refuses(
    running: tuple[str, Path, int], broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where downloaded datasets are kept
    url, folder, start_ns = running
    config = Config(
        repo_path=folder / "client",
        models=tmp_path / "models",
        service_url=url,
        api_key=KEY,
        broker_url=f"amqp://guest:guest@127.0.0.1:{broker.port}/",
    )
    with TestClient(create_app(config)) as models:
        dataset_id = build(url, start_ns)
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
            eventually(lambda asked=asked: models.post("/model/predict", json=asked).status_code == 200)
            found = models.post("/model/predict", json=asked).json()
            assert (found["source"], found["model_id"]) == (name, metadata["model_id"])
            assert found["age_seconds"] < 3
            assert isinstance(found["prediction"], float)
        assert models.post("/model/predict", json={"symbol": "NOSUCH"}).status_code == 404

        check_refusals(models, folder / "datasets" / dataset_id)
    check_another_time_and_other_features(config)


def check_refusals(models: TestClient, dataset: Path) -> None:
    """A vector that lacks a feature is refused with its reason, and so is a request for two datasets."""
    whole: dict[str, Any] = models.post("/model/train", json={"path": str(dataset)}).json()
    warming = models.post("/model/predict", json={"symbol": "BTCUSDT", "source": "live"})
    assert len(whole["features"]) > len(FEATURES)
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
