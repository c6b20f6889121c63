"""A build of columns that no market should have ends with a dataset or with a refusal that names a rule."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo.registry_versions import load_registry_version
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLogWriter
from tests.build_places import place_in
from training_sets.builds.builder import build_dataset
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows

Float64s = npt.NDArray[np.float64]

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 2 * MINUTE_NS
LEAST = float(np.nextafter(0.0, 1.0))
FEATURES = load_registry_version("1.0.0").feature_set
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(10 * SECOND_NS),),
    registry_version="1.0.0",
    check_leakage=False,  # the columns are drawn, not computed
)

KINDS: dict[str, tuple[float, ...]] = {
    "constant": (0.5,),
    "one ulp": (0.5, float(np.nextafter(0.5, 1.0))),
    "zero": (0.0,),
    "denormal": (LEAST, 2 * LEAST),
    "unknown": (np.nan,),
    "at times unknown": (0.5, np.nan, 0.25),
    "infinite": (0.5, np.inf),
    "infinite below": (-np.inf, 0.5),
    "the whole range": (float(np.finfo(np.float64).max), -float(np.finfo(np.float64).max)),
}
TAME = sorted(KINDS.keys() - {"infinite", "infinite below", "the whole range"})
"""These break no critical rule: there must be a dataset."""
MIDS = ("constant", "one ulp", "denormal", "unknown", "at times unknown")
"""Kinds of prices; one of a sound book is positive and finite."""


def build(kinds: list[str], mid: str, rows: int) -> str:
    """The report of the dataset of columns of these kinds, one after the other, or the refusal."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        row_ns = START_NS + np.arange(rows) * SECOND_NS
        values = np.column_stack(
            [np.resize(np.array(KINDS[kinds[at % len(kinds)]]), rows) for at in range(len(FEATURES.columns))]
        )
        walk = 100.0 + np.arange(rows) % 7
        values[:, FEATURES.columns.index("mid_price")] = np.resize(np.array(KINDS[mid]), rows) if mid else walk
        log = FeatureLogWriter(folder / "features")
        with log:
            status = np.zeros((rows, len(FEATURES.groups)), np.int8)
            log.append(FeatureRows("BTCUSDT", FEATURES, row_ns, values, status), row_ns + 1)
        try:
            dataset = build_dataset(REQUEST, place_in(folder, folder / "kernels"), folder / "dataset")
        except InvalidRequest as refusal:
            return str(refusal)
        return (dataset.path / "_report.html").read_text()


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6), st.sampled_from(["", *MIDS]))
@settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
    # A build takes a second: shrinking would take minutes, and the columns are few already.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_any_columns_give_a_dataset_or_a_refusal_that_names_a_rule(kinds: list[str], mid: str) -> None:
    told = build(kinds, mid, 121)
    assert (
        ("<h2>Distributions</h2>" in told and "could not be drawn" not in told)
        or told.startswith("quality, ")
        or "must " in told
    )


def test_nearly_constant_unknown_and_denormal_columns_give_a_dataset() -> None:
    told = build(TAME, "", 121)
    assert "<h2>Distributions</h2>" in told
    assert "could not be drawn" not in told


def test_one_row_is_refused_by_its_rule() -> None:
    assert "train period: must hold rows with a label" in build(TAME, "", 1)
