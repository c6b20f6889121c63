"""Rows of a dataset weigh what a plain walk over the bars of their labels gives, by split and symbol."""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from feature_client import Dataset
from feature_repo.registry_versions import load_registry_version
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLogWriter
from tests.build_places import GATED, UNGATED, place_in
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.dataset.records import request_hash
from training_sets.request.folds import PurgedCombinations, TimeBased, default_periods
from training_sets.request.request import DatasetRequest, OutputFormat, request_document
from training_sets.request.targets import RegressionTarget, TripleBarrierTarget
from training_sets.request.weighting import WeighedBy, Weighting
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 8 * MINUTE_NS
AVAILABLE_NS = 20_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FEATURES = load_registry_version("1.0.0").feature_set
BARRIER = TripleBarrierTarget(20 * SECOND_NS, SECOND_NS, "hit", upper=0.01, lower=0.01)
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(5 * SECOND_NS), BARRIER),
    registry_version="1.0.0",
    sample_interval_ns=3 * SECOND_NS,
    check_leakage=False,  # the columns are drawn, not computed
    weighting=Weighting("return_attribution", oldest=0.5),
)


@pytest.fixture(scope="module")
def mids(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, npt.NDArray[np.float64]]]:
    """A feature log of drawn columns, and the mid of each second."""
    folder = tmp_path_factory.mktemp("weighed")
    draw = np.random.default_rng(7)
    count = DURATION_NS // SECOND_NS + 60
    row_ns = START_NS + np.arange(count) * SECOND_NS
    found = {}
    with FeatureLogWriter(folder / "features") as log:
        for symbol in SYMBOLS:
            values = draw.uniform(0.1, 0.9, (count, len(FEATURES.columns)))
            found[symbol] = 100.0 * np.exp(np.cumsum(draw.standard_normal(count) * 0.002))
            values[:, FEATURES.columns.index("mid_price")] = found[symbol]
            status = np.zeros((count, len(FEATURES.groups)), np.int8)
            log.append(FeatureRows(symbol, FEATURES, row_ns, values, status), row_ns + AVAILABLE_NS)
    return folder, found


@pytest.fixture(scope="module")
def place(mids: tuple[Path, object], kernel_cache: Path) -> BuildPlace:
    folder, _ = mids
    return place_in(folder, kernel_cache, rules=UNGATED)


def plain_weights(frame: pd.DataFrame, mids: npt.NDArray[np.float64], weighting: Weighting) -> pd.DataFrame:
    """Of one symbol's rows of a split, in order of time."""
    seconds = (frame["timestamp"].astype("int64") - START_NS) // SECOND_NS
    spans = list(zip(seconds + 1, (frame["hit_t1"].astype("int64") - START_NS) // SECOND_NS, strict=True))
    over = {at: sum(begin < at <= end for begin, end in spans) for at in range(len(mids))}
    unique = [np.mean([1.0 / over[at] for at in range(begin + 1, end + 1)]) for begin, end in spans]
    own = unique
    if weighting.by == "return_attribution":
        logs = np.log(mids)
        own = [
            abs(sum((logs[at] - logs[at - 1]) / over[at] for at in range(begin + 1, end + 1))) for begin, end in spans
        ]
    seen = np.cumsum(unique)
    decayed = np.array(own) * (1.0 + (1.0 - weighting.oldest) / seen[-1] * (seen - seen[-1]))
    concurrency = [np.mean([over[at] for at in range(begin + 1, end + 1)]) for begin, end in spans]
    return pd.DataFrame({"sample_weight": decayed * len(decayed) / decayed.sum(), "concurrency": concurrency})


@pytest.mark.parametrize(("by", "output_format"), [("uniqueness", "csv"), ("return_attribution", "parquet")])
def test_rows_weigh_what_a_plain_walk_gives(
    place: BuildPlace,
    mids: tuple[Path, dict[str, npt.NDArray[np.float64]]],
    tmp_path: Path,
    by: WeighedBy,
    output_format: OutputFormat,
) -> None:
    asked = Weighting(by, oldest=0.5)
    request = dataclasses.replace(REQUEST, weighting=asked, output_format=output_format)
    built = build_dataset(request, place, tmp_path / "dataset")
    assert not list(built.path.glob(".*"))
    assert built.manifest["weights"] | {"splits": None} == {
        "by": by,
        "target": "hit",
        "oldest": 0.5,
        "splits": None,
    }
    dataset = Dataset.open(built.path)
    assert dataset.weight_columns == ["sample_weight"]
    for told in built.manifest["weights"]["splits"]:
        frame = dataset.frame(told["split"])
        assert told["rows"] == len(frame) == built.records[told["split"]] > 10
        assert told["effective_rows"] == pytest.approx(
            frame["sample_weight"].sum() ** 2 / (frame["sample_weight"] ** 2).sum()
        )
        for symbol in SYMBOLS:
            own = frame[frame["symbol"] == symbol].reset_index(drop=True)
            expected = plain_weights(own, mids[1][symbol], asked)
            pd.testing.assert_frame_equal(own[["sample_weight", "concurrency"]], expected, rtol=1e-9)
    weights = dataset.weights("train")
    assert weights.index.equals(dataset.load("train").features.index)
    assert list(weights) == ["sample_weight"]


def test_every_fold_has_weights_of_its_own_and_the_report_tells_them(
    place: BuildPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = dataclasses.replace(place, rules=GATED)
    strategy = PurgedCombinations(START_NS, START_NS + DURATION_NS, groups=4, test_groups=1)
    built = build_dataset(dataclasses.replace(REQUEST, strategy=strategy), gated, tmp_path / "dataset")
    told = built.manifest["weights"]["splits"]
    assert [(each["fold"], each["split"]) for each in told] == [
        (fold, split) for fold in range(4) for split in ("train", "test")
    ]
    frame = Dataset.open(built.path).frame("train", fold=2)
    assert frame.groupby("symbol")["sample_weight"].mean().tolist() == pytest.approx([1.0, 1.0])
    assert list(frame)[-4:] == ["sample_weight", "concurrency", "fold", "path"]
    assert frame["path"].isna().all()
    assert (Dataset.open(built.path).frame("test", fold=2)["path"] == 0).all()
    report = (built.path / "_report.html").read_text()
    assert "Sample weights" in report
    monkeypatch.chdir(built.path)
    [lines] = re.findall(r"<pre>(import pandas.*?)</pre>", report, re.DOTALL)
    loaded: dict[str, Any] = {}
    exec(unescape(lines), loaded)  # noqa: S102  # what a reader copies into a notebook
    assert list(loaded["features"]) == Dataset.open(built.path).feature_columns


def test_a_request_without_weights_is_the_one_it_was(place: BuildPlace, tmp_path: Path) -> None:
    without = dataclasses.replace(REQUEST, weighting=None)
    assert "weighting" not in request_document(without)
    assert request_hash(without, "f") != request_hash(REQUEST, "f")
    assert msgspec.convert(request_document(without), DatasetRequest) == without
    assert msgspec.convert(request_document(REQUEST), DatasetRequest) == REQUEST
    named = dataclasses.replace(without, targets=(RegressionTarget(5 * SECOND_NS, name="sample_weight"),))
    built = build_dataset(named, place, tmp_path / "dataset")
    assert Dataset.open(built.path).weight_columns == []
    assert Dataset.open(built.path).target_columns == ["sample_weight"]
    with pytest.raises(InvalidRequest, match="target names: must not be those of other columns, was sample_weight"):
        build_dataset(dataclasses.replace(named, weighting=Weighting()), place, tmp_path / "clash")


def test_weights_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"sample_weight\.target: must be of target, hit, was 'other'"):
        dataclasses.replace(REQUEST, weighting=Weighting(target="other"))
    with pytest.raises(InvalidRequest, match=r"sample_weight\.time_decay: must be above -1 and at most 1, was 2"):
        Weighting(oldest=2.0)
