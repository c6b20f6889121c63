"""The best of a thousand models of noise is called insignificant, and a model that knows something is not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from feature_repo.registry_versions import load_registry_version
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from storage.features.log import FeatureLogWriter
from tests.build_places import UNGATED, place_in
from tests.evaluated import evaluating
from training_sets.builds.builder import build_dataset
from training_sets.request.folds import SPLIT_NAMES, Period, TimeBased
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T00:00:00")
LENGTH_NS = 7 * MINUTE_NS
HORIZON_NS = SECOND_NS
MODELS = 1000
SIGNIFICANT = 0.95
FEATURES = load_registry_version("1.0.0").feature_set

Float64s = npt.NDArray[np.float64]


def request_of(run: int) -> DatasetRequest:
    """Four minutes to test on: of fewer rows the best of a thousand without skill looks like one with it."""
    begin_ns = START_NS + run * LENGTH_NS
    edges_ns = [begin_ns + minute * MINUTE_NS for minute in (0, 1, 2, 6)]
    return DatasetRequest(
        symbols=("BTCUSDT",),
        strategy=TimeBased(
            tuple(Period(name, *ends) for name, ends in zip(SPLIT_NAMES, pairwise(edges_ns), strict=True))
        ),
        targets=(RegressionTarget(HORIZON_NS),),
        registry_version="1.0.0",
        check_leakage=False,  # the columns are drawn, not computed
    )


def write_market(folder: Path, runs: int, draw: np.random.Generator) -> None:
    """Prices whose returns have fat tails and come in calm and wild stretches, as those of markets do."""
    count = runs * LENGTH_NS // SECOND_NS + 70
    row_ns = START_NS + np.arange(count) * SECOND_NS
    wild = np.exp(0.7 * np.repeat(draw.standard_normal(count // 90 + 1), 90)[:count])
    values = draw.uniform(0.1, 0.9, (count, len(FEATURES.columns)))
    steps = draw.standard_t(4, count) * wild * 2e-4
    values[:, FEATURES.columns.index("mid_price")] = 100.0 * np.exp(np.cumsum(np.clip(steps, -0.05, 0.05)))
    with FeatureLogWriter(folder / "features") as log:
        status = np.zeros((count, len(FEATURES.groups)), np.int8)
        log.append(FeatureRows("BTCUSDT", FEATURES, row_ns, values, status), row_ns + 20_000_000)


def noise_models(rows: int, count: int, draw: np.random.Generator) -> dict[str, list[float]]:
    """Models that know nothing: each says anything, holds a side for a while, or resembles one of the others."""
    common = draw.standard_normal((rows, 5))
    models: dict[str, list[float]] = {}
    for number in range(count):
        match number % 3:
            case 0:
                told = draw.standard_normal(rows)
            case 1:
                told = np.repeat(draw.standard_normal(rows // 20 + 1), 20)[:rows]
            case _:
                told = common[:, number % 5] + draw.standard_normal(rows)
        models[f"noise-{number}"] = told.tolist()
    return models


def judged(client: TestClient, dataset_id: str, models: dict[str, list[float]]) -> tuple[float, float, int]:
    """The deflated Sharpe ratio of the best: among all that were told at once, and alone, once they were counted."""
    body = {"dataset_id": dataset_id, "split": "test", "model_version": "best of all"}
    answer = client.post("/model/evaluate", json={**body, "candidates": models})
    assert answer.status_code == 200, answer.text
    selection = answer.json()["selection"]
    alone = client.post("/model/evaluate", json={**body, "predictions": models[selection["best"]]}).json()
    assert alone["metadata"]["trials"] == len(models)
    return (
        selection["deflated_sharpe_ratio"],
        alone["metrics"]["target"]["deflated_sharpe_ratio"],
        selection["sharpe_rows"],
    )


def called_significant(folder: Path, kernel_cache: Path, *, runs: int, models: int) -> tuple[int, int, int]:
    """In how many runs the best of noise is, among all and alone, and in how many one that knows a little."""
    draw = np.random.default_rng(20261130)
    write_market(folder, runs, draw)
    place = place_in(folder, kernel_cache, rules=UNGATED)
    datasets = {
        f"ds-{run}": (request_of(run), build_dataset(request_of(run), place, folder / f"ds-{run}").path)
        for run in range(runs)
    }
    among = alone = known = 0
    (folder / "api").mkdir()
    with evaluating(datasets, folder / "api") as client:
        for dataset_id, (_, path) in datasets.items():
            actual = pq.read_table(path / "test.parquet", columns=["target"]).column("target").to_numpy()
            ratios = judged(client, dataset_id, noise_models(len(actual), models, draw))
            among += ratios[0] >= SIGNIFICANT
            alone += ratios[1] >= SIGNIFICANT
            # Counted after all the others, and right in four of five rows.
            sides = np.where(draw.random(len(actual)) < 4 / 5, np.sign(actual), -np.sign(actual))
            body = {"dataset_id": dataset_id, "split": "test", "model_version": "knows", "predictions": sides.tolist()}
            found = client.post("/model/evaluate", json=body).json()
            known += found["metrics"]["target"]["deflated_sharpe_ratio"] >= SIGNIFICANT
    return among, alone, known


def test_the_best_of_many_models_of_noise_is_insignificant(tmp_path: Path, kernel_cache: Path) -> None:
    among, alone, _ = called_significant(tmp_path, kernel_cache, runs=1, models=60)
    assert (among, alone) == (0, 0)


@pytest.mark.soak
def test_in_a_hundred_runs_the_best_of_noise_is_insignificant_in_ninety_five(
    tmp_path: Path, kernel_cache: Path
) -> None:
    among, alone, known = called_significant(tmp_path, kernel_cache, runs=100, models=MODELS)
    print(f"of 100 runs the best of {MODELS} models of noise was significant in {among} among them, in {alone} alone")
    print(f"a model that is right in four of five rows was significant in {known} of 100 runs")
    assert among <= 5
    assert alone <= 5
    assert known > 50
