"""Trees and a recurrent network learn from a dataset of recorded candles, and score as honest models of them do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.trained_models.score import MOST_IC, ImplausibleScoreError, check_plausible, score
from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS
from market.instruments import pin_scale
from tests.build_places import place_in
from tests.evaluated import evaluating
from tests.real_candles import DAY_CANDLES, recorded_candles, write_day
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.request.fitting import Scaler
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples.trained_models"
SYMBOL = "DOGEUSDT"
HORIZON_NS = 15 * MINUTE_NS


def test_a_score_that_nobody_believes_ends_the_run_and_an_honest_one_does_not() -> None:
    draw = np.random.default_rng(5)
    actual = draw.standard_normal(2_000)
    with pytest.raises(ImplausibleScoreError, match=r"must have an IC within 0\.3"):
        check_plausible("leak", score(actual + draw.standard_normal(2_000), actual))
    with pytest.raises(ImplausibleScoreError, match="65% of sides right"):
        check_plausible("leak", score(np.where(draw.random(2_000) < 0.7, 1.0, -1.0) * np.sign(actual), actual))
    honest = score(0.05 * actual + draw.standard_normal(2_000), actual)
    check_plausible("honest", honest)
    assert 0.0 < honest.ic < 0.12
    check_plausible("minutes", score(actual[:50], actual[:50]))
    assert score(np.zeros(600), actual[:600]).ic == 0.0
    tied = score(np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0, 3.0]))
    assert (tied.rows, tied.right) == (4, 1.0)
    assert tied.ic == pytest.approx(1.0)


def dataset_of_candles(folder: Path, recorded_data: Path, kernel_cache: Path) -> tuple[DatasetRequest, Dataset]:
    """Thirty recorded days, a sample a minute, with the bar that has just come."""
    candles = recorded_candles(recorded_data, recording="DOGEUSDT_1m")
    begin_ns = candles[0].start_ns
    for day in range(len(candles) // DAY_CANDLES):
        of_day = candles[day * DAY_CANDLES : (day + 1) * DAY_CANDLES]
        write_day(folder / "raw", day, of_day, instrument=pin_scale(SYMBOL, candles[0].close), begin_ns=begin_ns)
    end_ns = begin_ns + len(candles) * MINUTE_NS
    request = DatasetRequest(
        symbols=(SYMBOL,),
        strategy=TimeBased(default_periods(begin_ns + 30 * HOUR_NS, end_ns - HOUR_NS)),
        targets=(RegressionTarget(HORIZON_NS),),
        registry_version="1.2.0",
        sample_interval_ns=MINUTE_NS,
        sample_offset_ns=2 * SECOND_NS,
        fitted_steps=(Scaler(by="robust"),),
    )
    return request, build_dataset(request, place_in(folder, kernel_cache), folder / "dataset")


def installed(folder: Path) -> Path:
    """What the example asks for beside what is there."""
    requirements = ROOT / "examples/trained_models/requirements.txt"
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    pip = [sys.executable, "-m", "pip", "install", *options, "-r", str(requirements)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def trained(model: str, dataset: Path, log: Path, libraries: Path, out: Path) -> dict[str, Any]:
    """The scores that the example prints, by split."""
    command = [sys.executable, "-m", EXAMPLE, model, "--dataset", str(dataset), "--log", str(log), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(libraries)))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.soak
def test_two_models_are_trained_on_recorded_candles_and_score_plausibly(
    tmp_path: Path, recorded_data: Path, kernel_cache: Path
) -> None:
    request, built = dataset_of_candles(tmp_path, recorded_data, kernel_cache)
    libraries = installed(tmp_path / "libraries")
    (tmp_path / "api").mkdir()
    with evaluating({"doge": (request, built.path)}, tmp_path / "api") as client:
        for number, model in enumerate(("trees", "sequence"), start=1):
            out = tmp_path / f"{model}.json"
            scores = trained(model, built.path, tmp_path / "features", libraries, out)
            answer = client.post("/model/evaluate", json={"dataset_id": "doge", **json.loads(out.read_text())})
            assert answer.status_code == 200, answer.text
            metrics = answer.json()["metrics"]["target"]
            print(
                model,
                scores,
                {name: metrics[name] for name in ("correlation", "rank_correlation", "deflated_sharpe_ratio")},
            )
            assert scores["test"]["rows"] == built.records["test"] > 5_000
            # It learned something of train, and nothing unbelievable of what came after.
            assert scores["train"]["ic"] > 0.01
            assert abs(metrics["rank_correlation"]) < MOST_IC / 2
            assert metrics["rank_correlation"] == pytest.approx(scores["test"]["ic"], abs=1e-9)
            assert answer.json()["metadata"]["trials_counted"] == number
