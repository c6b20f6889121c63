"""What is tried on a test split is kept and counted, whoever asks, and deflates what the next one is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from market.clock import MINUTE_NS, SECOND_NS
from tests.build_places import UNGATED, place_in
from tests.drawn_rows import REQUEST, START_NS, log_drawn_rows
from tests.evaluated import evaluating
from training_sets.builds.builder import build_dataset
from training_sets.dataset.trials import predictions_digest, shared_test_key
from training_sets.request.folds import PurgedCombinations
from training_sets.request.targets import RegressionTarget


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    log_drawn_rows(folder / "features")
    return build_dataset(REQUEST, place_in(folder, kernel_cache, rules=UNGATED), folder / "ds").path


@pytest.fixture
def client(built: Path, tmp_path: Path) -> Iterator[TestClient]:
    with evaluating(dict.fromkeys(("ds-1", "ds-2"), (REQUEST, built)), tmp_path) as client:
        yield client


def rows_of(built: Path, fold: int) -> int:
    return pq.ParquetFile(built / f"fold-{fold:03d}/test.parquet").metadata.num_rows


def test_every_model_that_is_tried_on_a_test_split_counts_and_its_result_is_kept(
    client: TestClient, built: Path
) -> None:
    draw = np.random.default_rng(3)
    models = [[draw.standard_normal(rows_of(built, fold)).tolist() for fold in range(3)] for _ in range(6)]

    def tried(model: int, *, dataset: str = "ds-1", fold: int = 0, split: str = "test") -> dict[str, Any]:
        body = {"dataset_id": dataset, "split": split, "fold": fold, "model_version": f"m{model}"}
        answer = client.post("/model/evaluate", json={**body, "predictions": models[model][fold]})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert client.get("/model/evaluations", params={"dataset_id": "ds-1"}).json()["trials"] == 0
    assert client.get("/model/evaluations", params={"dataset_id": "none"}).status_code == 404
    first = tried(0)
    assert first["metadata"]["trials_counted"] == 1
    # The same numbers again, and the same model on other folds, are no other model.
    assert tried(0)["metadata"]["trials_counted"] == 1
    assert tried(0, fold=1)["metadata"]["trials_counted"] == tried(0, fold=2)["metadata"]["trials_counted"] == 1
    assert tried(1)["metadata"]["trials_counted"] == 2
    # Another dataset that tests on the same time has seen it too.
    assert tried(2, dataset="ds-2")["metadata"]["trials_counted"] == 3
    again = tried(0)
    assert again["metadata"]["trials"] == 3
    ratios = [each["metrics"]["target"]["deflated_sharpe_ratio"] for each in (first, again)]
    assert ratios[1] < ratios[0]
    # Who tells fewer than were counted is not believed; who tells more is.
    body = {"dataset_id": "ds-1", "split": "test", "fold": 0, "model_version": "m0", "predictions": models[0][0]}
    for told, expected in ((1, 3), (50, 50)):
        assert client.post("/model/evaluate", json={**body, "trials": told}).json()["metadata"]["trials"] == expected
    # Nothing that is refused is counted, nor what was tried on another split.
    refused = {**body, "predictions": models[5][0], "fold": None, "trials": 2}
    assert client.post("/model/evaluate", json=refused).status_code == 400
    candidates = {f"c{at}": models[at][0] for at in (3, 4)}
    chosen = client.post("/model/evaluate", json={**body, "predictions": None, "candidates": candidates}).json()
    assert (chosen["selection"]["candidates"], chosen["selection"]["trials"]) == (2, 5)
    kept = client.get("/model/evaluations", params={"dataset_id": "ds-1", "limit": 1000}).json()
    assert kept["trials"] == 5
    assert len(kept["evaluations"]) == 9
    assert first in kept["evaluations"]
    assert len(client.get("/model/evaluations", params={"dataset_id": "ds-1", "limit": 2}).json()["evaluations"]) == 2


def test_what_datasets_share_is_the_time_that_they_test_on() -> None:
    other_target = dataclasses.replace(REQUEST, targets=(RegressionTarget(9 * SECOND_NS),), registry_version="2.0.0")
    other_time = dataclasses.replace(
        REQUEST, strategy=PurgedCombinations(START_NS, START_NS + MINUTE_NS, groups=3, test_groups=1)
    )
    assert shared_test_key(REQUEST) == shared_test_key(other_target)
    assert shared_test_key(REQUEST) != shared_test_key(other_time)
    assert shared_test_key(REQUEST) != shared_test_key(dataclasses.replace(REQUEST, symbols=("ETHUSDT",)))
    values = np.arange(6.0)
    assert predictions_digest(values) == predictions_digest(values.copy())
    assert len({predictions_digest(each) for each in (values, -values, values.reshape(2, 3), {"a": values})}) == 4
