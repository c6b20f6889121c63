"""The labels of single splits are judged as purge left them, and what is found is told in words."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS
from market.errors import InvalidRequest
from quality.profile import TableProfile
from training_sets.checks.inspection import judge_quality, value_columns
from training_sets.request.folds import Fold, Period, TimeBased
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget, RiskAdjustedTarget, Target, TripleBarrierTarget
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.splits import FoldTally, SplitRules, assign_rows

PERIODS = (Period("train", 0, 40 * SECOND_NS), Period("test", 40 * SECOND_NS, 60 * SECOND_NS))
TIMES_NS = np.arange(60, dtype=np.int64) * SECOND_NS


def told(target: Target, train: list[float], test: list[float]) -> list[str]:
    request = DatasetRequest(("BTCUSDT",), TimeBased(PERIODS), (target,), "1.0.0")
    labels = np.concatenate([np.resize(train, 40), np.resize(test, 20)]).reshape(-1, 1)
    features = np.random.default_rng(1).standard_normal((60, 1))
    profile = TableProfile(["spread", target.name], np.full(2, -np.inf), np.full(2, np.inf))
    profile.add(TIMES_NS, np.concatenate([features, labels], axis=1), np.zeros(60, np.int64))
    tally = FoldTally(Fold(None, PERIODS), SplitRules(SECOND_NS), (target,))
    tally.add(TIMES_NS, assign_rows(TIMES_NS, tally.fold, tally.rules), labels)
    return [str(finding) for finding in judge_quality(request, profile, [tally])]


def test_a_train_split_of_one_label_is_refused() -> None:
    with pytest.raises(
        InvalidRequest, match=r"a split must have labels of more than one value, was all of target in train 1$"
    ):
        told(RegressionTarget(SECOND_NS), [1.0], [0.1, 0.2, 0.3])


def test_another_split_of_one_label_is_a_finding() -> None:
    found = told(RegressionTarget(SECOND_NS), [0.1, 0.2, 0.3], [0.5])
    assert [each for each in found if each.endswith("was all of target in test 0.5")] != []


def test_a_return_of_too_many_volatilities_is_a_finding() -> None:
    found = told(RiskAdjustedTarget(SECOND_NS), [0.1, -0.2, 0.3], [0.1, -2_000.0])
    assert [each for each in found if each.endswith("at most 1000 of its past volatilities, was target in test 2000")]


def test_a_target_with_the_name_of_anothers_barrier_is_refused() -> None:
    targets = TripleBarrierTarget(SECOND_NS, name="a"), RegressionTarget(SECOND_NS, name="a_t1")
    request = DatasetRequest(("BTCUSDT",), TimeBased(PERIODS), targets, "1.0.0")
    with pytest.raises(InvalidRequest, match=r"target names: must not be those of other columns, was a_t1$"):
        value_columns(request, DatasetFeatures.of_version(load_registry_version("1.0.0").feature_set))
