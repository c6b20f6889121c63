"""Predictions that are measured over HTTP: on splits, deflated by trials, judged over paths, refused."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from runtime.settings import Settings
from tests.api_service import CPCV, finished


def targets_of(client: TestClient, ready: dict[str, Any], split: str) -> list[float]:
    table = pq.read_table(io.BytesIO(client.get(ready["download_urls"][split]).content))
    return [float(value) for value in table.column("target").to_numpy()]


def test_predictions_are_measured_on_a_split(client: TestClient, ready: dict[str, Any]) -> None:
    targets = targets_of(client, ready, "test")
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1", "predictions": targets}
    answer = client.post("/model/evaluate", json=body)
    assert answer.status_code == 200
    document = answer.json()
    assert document["metrics"]["target"]["rmse"] == 0.0
    assert document["metrics"]["target"]["r2"] == 1.0
    details = document["details"]["target"]
    assert details["calibration"]["slope"] == pytest.approx(1.0)
    returns = details["returns"]
    assert returns["apart"]["rows"] < returns["overlapping"]["rows"] == len(targets)
    assert returns["apart"]["max_drawdown"] == 0.0
    assert returns["apart_after_costs"] == returns["apart"]
    assert (document["dataset_id"], document["split"], document["model_version"]) == (ready["dataset_id"], "test", "m1")
    assert document["evaluation_id"]
    assert document["metadata"]["rows"] == len(targets) == ready["test_records"]
    flat = client.post(
        "/model/evaluate", json={**body, "predictions": [0.0] * len(targets), "metrics_to_compute": ["mae"]}
    )
    assert flat.json()["metrics"] == {"target": {"mae": pytest.approx(float(np.mean(np.abs(targets))))}}


def test_a_sharpe_ratio_is_deflated_by_the_trials_that_are_told(client: TestClient, ready: dict[str, Any]) -> None:
    targets = targets_of(client, ready, "test")
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1"}
    body |= {"predictions": [1.0] * len(targets), "metrics_to_compute": ["sharpe_ratio"]}
    untold = client.post("/model/evaluate", json=body).json()
    assert set(untold["metrics"]["target"]) == {"sharpe_ratio"}
    assert not untold["metadata"].keys() & {"trials", "sharpe_rows"}
    found = [client.post("/model/evaluate", json={**body, "trials": trials}).json() for trials in (1, 1_000)]
    one, many = (each["metrics"]["target"]["deflated_sharpe_ratio"] for each in found)
    assert 0.0 <= many < one <= 1.0
    assert found[0]["metrics"]["target"]["sharpe_ratio"] == untold["metrics"]["target"]["sharpe_ratio"]
    # Labels look ten seconds ahead: of rows a second apart, a tenth share nothing.
    metadata = found[1]["metadata"]
    assert (metadata["trials"], metadata["sharpe_rows"]) == (1_000, {"target": math.ceil(len(targets) / 10)})


def test_trials_are_told_of_one_fold_and_of_targets_that_are_values(client: TestClient) -> None:
    side = {"name": "side", "type": "classification", "horizon": "5s", "threshold": 1e-6}
    targets = [{"name": "gain", "horizon": "5s"}, side]
    body = {"symbol": "BTCUSDT", "target_config": targets, "output_format": "csv", **CPCV}
    built = finished(client, client.post("/dataset/build", json=body).json()["dataset_id"])
    assert built["status"] == "ready"
    asked_of = {"dataset_id": built["dataset_id"], "split": "test", "model_version": "m1"}
    every = client.post("/model/evaluate", json=asked_of).json()["metadata"]["rows"]
    rows = client.post("/model/evaluate", json={**asked_of, "fold": 2}).json()["metadata"]["rows"]
    for fold, predictions, status, rule in (
        (2, {"gain": [1.0] * rows}, 200, ""),
        (2, {"side": [1.0] * rows}, 400, "trials: must be for numeric targets, was for side"),
        (None, {"gain": [1.0] * every}, 400, "trials: must be for one fold or path, was for 6 folds"),
    ):
        answer = client.post(
            "/model/evaluate", json={**asked_of, "fold": fold, "predictions": predictions, "trials": 9}
        )
        assert answer.status_code == status
        assert rule in answer.json().get("message", "")
        if status == 200:
            assert 0.0 <= answer.json()["metrics"]["gain"]["deflated_sharpe_ratio"] <= 1.0


def test_the_best_of_many_candidates_is_judged_over_a_path_of_all_folds(client: TestClient) -> None:
    body = {"symbol": "BTCUSDT", "target_config": {"horizon": "5s"}, **CPCV}
    built = finished(client, client.post("/dataset/build", json=body).json()["dataset_id"])
    assert built["status"] == "ready"
    asked_of = {"dataset_id": built["dataset_id"], "split": "test", "model_version": "m1", "path": 2}
    rows = client.post("/model/evaluate", json=asked_of).json()["metadata"]["rows"]
    every = client.post("/model/evaluate", json={**asked_of, "path": None}).json()["metadata"]["rows"]
    # Four groups of which each fold tests two are three paths; at the end of a group that stands alone a row goes.
    assert every - 6 <= rows * 3 <= every + 6
    draw = np.random.default_rng(4)
    noise = {f"m{number}": draw.standard_normal(rows).tolist() for number in range(20)}
    found = client.post("/model/evaluate", json={**asked_of, "candidates": noise}).json()["selection"]
    assert found["best"] in noise
    assert (found["candidates"], found["parts"]) == (20, 16)
    assert 0.0 <= found["deflated_sharpe_ratio"] < 0.95
    assert 0.0 <= found["overfitting_probability"] <= 1.0
    for changes, rule in (
        ({"path": 5, "candidates": noise}, "path: must be one with rows, 0 to 2, was 5"),
        ({"fold": 1, "candidates": noise}, "path: must come with the test split of a cpcv dataset and without fold"),
        ({"candidates": {"m0": noise["m0"]}}, "candidates: must be two or more"),
        ({"candidates": noise["m0"]}, "candidates: must map model names to lists"),
        ({"candidates": {"m0": noise["m0"], "m1": noise["m1"][:-1]}}, "predictions of target: must be of shape"),
    ):
        answer = client.post("/model/evaluate", json={**asked_of, **changes})
        assert answer.status_code == 400
        assert rule in answer.json()["message"]


def test_a_damaged_split_is_neither_measured_nor_downloaded_and_its_path_is_not_told(
    client: TestClient, ready: dict[str, Any], settings: Settings
) -> None:
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1"}
    path = settings.dataset_storage_path / ready["dataset_id"] / "test.parquet"
    whole = path.read_bytes()
    for at in (20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            answers = [
                client.post("/model/evaluate", json=body),
                client.get(ready["download_urls"]["test"]),
                client.get(ready["download_urls"]["all"]),
            ]
        finally:
            path.write_bytes(whole)
        for answer in answers:
            assert answer.status_code == 500
            assert answer.json()["error"] == "InternalError"
            assert str(settings.dataset_storage_path) not in answer.text
    assert client.post("/model/evaluate", json=body).status_code == 200


def test_without_predictions_the_split_to_predict_is_named(client: TestClient, ready: dict[str, Any]) -> None:
    body = {"dataset_id": ready["dataset_id"], "split": "validation", "model_version": "m1"}
    document = client.post("/model/evaluate", json=body).json()
    assert document["metrics"] is None
    assert document["prepared_dataset_url"] == ready["download_urls"]["validation"]


def test_an_evaluation_that_cannot_be_made_says_what_can(client: TestClient, ready: dict[str, Any]) -> None:
    body = {"dataset_id": ready["dataset_id"], "split": "test", "model_version": "m1", "predictions": [0.5]}
    for changes, status, rule in (
        ({}, 400, "predictions of target: must be of shape"),
        ({"predictions": {"other": [0.5]}}, 400, "predictions: must be for target, was other"),
        (
            {"predictions": [0.0] * ready["test_records"], "metrics_to_compute": ["f1"]},
            400,
            "metrics_to_compute: must be of mse, rmse",
        ),
        ({"split": "holdout"}, 422, "split"),
        ({"trials": 0}, 422, "trials"),
        ({"trials": 5, "predictions": None}, 400, "trials: must come with predictions, was 5 without"),
        ({"fold": 7}, 404, "split: must be one of train, validation, test"),
        ({"dataset_id": "nope"}, 404, "dataset: must exist"),
    ):
        answer = client.post("/model/evaluate", json={**body, **changes})
        assert answer.status_code == status
        assert rule in answer.json()["message"]
