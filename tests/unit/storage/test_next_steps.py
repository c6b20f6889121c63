"""What a newcomer meets when something is missing says what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.registry_versions import load_registry_version
from market.errors import FeatureServiceError
from storage.features.history import History, groups_with
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from storage.tables.computing import added_table
from storage.tape.reader import read_tape
from transforms.rows import FeatureSet


@pytest.fixture(scope="module")
def chosen() -> FeatureSet:
    return load_registry_version("1.0.0").feature_set


def test_missing_data_says_how_it_is_made(tmp_path: Path, chosen: FeatureSet) -> None:
    with pytest.raises(FeatureServiceError, match=r"which holds nothing; feature-service replay, run or backfill run"):
        RawData(tmp_path).period("XRPUSDT")
    with pytest.raises(FeatureServiceError, match=r"feature-service rebuild --symbol XRPUSDT"):
        History(FeatureLog(tmp_path), "XRPUSDT", chosen.groups, 0, 1)
    with pytest.raises(FeatureServiceError, match=r"feature-service tape stats"):
        read_tape(tmp_path, "XRPUSDT")
    with pytest.raises(FeatureServiceError, match=r"feature-service tables add"):
        added_table(tmp_path, "bars")


def test_an_unknown_feature_says_where_the_names_are(chosen: FeatureSet) -> None:
    with pytest.raises(FeatureServiceError, match=r"feature-service features list, or GET /features/list"):
        groups_with(chosen, ["nosuch"])
