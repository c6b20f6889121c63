"""The repository that a client is started on: what it loads, what it refuses, and the order of what a model takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore, FeatureView

from feature_client import FeatureStoreClient, feature_matrix
from feature_repo import definitions
from feature_repo.freshness import TIME_TO_LIVE
from feature_repo.store import GUARD, GUARD_NAME
from market.errors import InvalidRequest, NotFound, StoreUnavailable
from storage.online.store import OnlineStore
from tests.client_rows import entities, put
from tests.three_features import OURS


def test_the_folder_of_definitions_finds_the_repository_beside_it(writer: OnlineStore, repo_path: Path) -> None:
    put(writer, [100.5, 1.0, 0.1])
    (repo_path / "feature_repo").mkdir()
    client = FeatureStoreClient(repo_path=repo_path / "feature_repo")
    assert client.get_online_features(["price:mid_price"], entities("BTCUSDT")).to_dict()["mid_price"] == [100.5]
    client.close()


def test_an_online_read_loads_neither_feast_nor_a_compiler_nor_a_server(writer: OnlineStore, repo_path: Path) -> None:
    put(writer, [100.5, 1.0, 0.1])
    program = (
        "import sys\n"
        "from feature_client import FeatureStoreClient\n"
        "client = FeatureStoreClient(sys.argv[1])\n"
        "found = client.get_online_features(['price:mid_price'], [{'symbol': 'BTCUSDT'}])\n"
        "print(found.to_dict()['mid_price'][0])\n"
        "heavy = {'numba', 'great_expectations', 'fastapi', 'feast', 'pandas', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(repo_path)], capture_output=True, text=True, check=False
    )
    assert finished.stdout.split("\n")[:2] == ["100.5", "[]"], finished.stderr


def test_a_folder_without_a_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=str(tmp_path)):
        FeatureStoreClient(tmp_path)
    (tmp_path / "feature_store.yaml").write_text("project: p\nonline_store: {type: sqlite}\n")
    with pytest.raises(InvalidRequest, match="sqlite"):
        FeatureStoreClient(tmp_path)


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(
        'project: p\nonline_store: {type: redis, connection_string: "127.0.0.1:1,socket_timeout=0.1"}\n'
    )
    with pytest.raises(StoreUnavailable, match=r"redis 127\.0\.0\.1:1"):
        FeatureStoreClient(tmp_path).get_online_features(OURS, entities("BTCUSDT"))


def test_rows_are_fresh_for_the_ttl_of_the_views() -> None:
    assert isinstance(definitions.price, FeatureView)
    assert definitions.price.ttl == TIME_TO_LIVE


def test_feast_apply_is_refused_in_a_folder_that_only_reads(repo_path: Path) -> None:
    (repo_path / GUARD_NAME).write_text(GUARD)
    (repo_path / "mine.py").write_text("from feast import Entity\nmine = Entity(name='mine')\n")
    command = [str(Path(sys.executable).with_name("feast")), "apply"]
    finished = subprocess.run(command, cwd=repo_path, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "must be run where the definitions are" in finished.stderr
    assert not (repo_path / "registry.db").exists()
    # It is no module of the repository to who reads.
    assert FeatureStore(repo_path=str(repo_path)).list_entities() == []


def test_any_answer_becomes_the_rows_that_a_model_takes_in_its_own_order() -> None:
    columns = ["mid_price", "vwap_3s"]
    for answer in (
        {"vwap_3s": [1.0, None], "symbol": ["A", "B"], "mid_price": [100.0, 200]},
        {"orderflow__vwap_3s": [1.0, None], "symbol": ["A", "B"], "price__mid_price": [100.0, 200]},
        {"orderflow:vwap_3s": [1.0, None], "price:mid_price": [100.0, 200]},
        pd.DataFrame({"vwap_3s": [1.0, None], "mid_price": [100.0, 200]}),
    ):
        matrix = feature_matrix(answer, columns)  # type: ignore[arg-type]  # a frame has columns by name as well
        np.testing.assert_array_equal(matrix, [[100.0, 1.0], [200.0, np.nan]])
    with pytest.raises(InvalidRequest, match="spread_abs: must be in the answer once"):
        feature_matrix({"mid_price": [1.0]}, ["spread_abs"])
    with pytest.raises(InvalidRequest, match="x: must be in the answer once"):
        feature_matrix({"a__x": [1.0], "b__x": [1.0]}, ["x"])
