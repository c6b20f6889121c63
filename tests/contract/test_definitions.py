"""The Feast definitions through Feast itself: both ways of applying agree, and each view reads its own log."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from feast import FeatureStore, FeatureView, FileSource, RepoConfig
from feast.repo_operations import get_ignore_files, get_repo_files

from feature_repo.apply import apply_definitions
from feature_repo.definitions import (
    DEFAULT_FEATURES_FOLDER,
    PUSH_SOURCE_NAME,
    definitions,
)
from feature_repo.freshness import STREAMED_VIEWS
from feature_repo.registry_versions import LATEST, load_registry_version, registry_versions, service_name
from market.errors import DeclarationError
from transforms.catalogue import GROUPS, OUR_GROUPS

ROOT = Path(__file__).parents[2]


def store_on(registry: Path) -> FeatureStore:
    return FeatureStore(
        config=RepoConfig(
            project="feature_service",
            provider="local",
            registry=str(registry),
            online_store={"type": "sqlite", "path": str(registry.with_suffix(".online"))},
            offline_store={"type": "feature_repo.offline_store.AsOfOfflineStore"},
            entity_key_serialization_version=3,
        )
    )


def described(store: FeatureStore) -> dict[str, object]:
    """What a registry holds, without the times at which it was written."""
    views = {
        view.name: (
            [(field.name, str(field.dtype), field.description) for field in view.features],
            view.entities,
            view.ttl,
            view.tags,
            log_of(view).path.rpartition("features/")[2],
            view.stream_source.name if view.stream_source is not None else None,
        )
        for view in store.list_feature_views()
    }
    services = {
        service.name: (
            sorted(
                (projection.name, tuple(field.name for field in projection.features))
                for projection in service.feature_view_projections
            ),
            service.tags,
        )
        for service in store.list_feature_services()
    }
    return {"entities": [entity.name for entity in store.list_entities()], "views": views, "services": services}


def log_of(view: FeatureView) -> FileSource:
    assert isinstance(view.batch_source, FileSource)
    return view.batch_source


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("applied")
    store = store_on(folder / "registry.db")
    apply_definitions(store, definitions(features_folder=folder / "features"))
    return store


def test_feast_apply_from_the_root_and_our_apply_give_the_same_registry(applied: FeatureStore, tmp_path: Path) -> None:
    for name in ("feature_repo", "market", "transforms"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("feature_store.yaml", ".feastignore"):
        shutil.copy(ROOT / name, tmp_path)

    def feast(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("feast")), command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )

    for _ in range(2):  # the second time Feast writes over what is registered
        finished = feast("apply")
        assert finished.returncode == 0, finished.stderr[-2000:]
    assert described(store_on(tmp_path / "data" / "registry.db")) == described(applied)

    # Feast plans with an online store that it makes tables in; what was applied needs no change.
    config = (tmp_path / "feature_store.yaml").read_text()
    assert "type: redis\n  connection_string: localhost:6379" in config
    (tmp_path / "feature_store.yaml").write_text(
        config.replace("type: redis\n  connection_string: localhost:6379", "type: sqlite\n  path: data/online.db")
    )
    planned = feast("plan")
    assert planned.returncode == 0, planned.stderr[-2000:]
    assert "No changes to registry" in planned.stdout


def test_feast_imports_nothing_but_the_feature_repo() -> None:
    files = get_repo_files(ROOT)
    assert files
    assert {path.relative_to(ROOT).parts[0] for path in files} == {"feature_repo"}
    assert get_ignore_files(ROOT, [line for line in (ROOT / ".feastignore").read_text().splitlines() if line])


def test_each_view_reads_its_own_log_even_as_a_copy_and_all_hear_one_push(applied: FeatureStore) -> None:
    for group in GROUPS:
        view = applied.get_feature_view(group)
        assert view.stream_source is not None
        assert view.stream_source.name == PUSH_SOURCE_NAME
        # Every retrieval through a feature service copies the view, and Feast's copy asks the push source for the log.
        for one in (view, copy.copy(view)):
            assert Path(log_of(one).path).parent.name == group
            assert log_of(one).created_timestamp_column == "created_timestamp"


def test_views_that_are_applied_again_keep_their_own_logs(tmp_path: Path) -> None:
    store = store_on(tmp_path / "registry.db")
    for _ in range(2):
        apply_definitions(store, definitions(features_folder=tmp_path / "features"))
    for group in GROUPS:
        assert Path(log_of(copy.copy(store.get_feature_view(group))).path).parent.name == group


def test_the_views_of_the_vector_are_known_without_the_catalogue() -> None:
    assert set(OUR_GROUPS) == STREAMED_VIEWS


def test_every_registry_version_is_a_service_of_its_columns(applied: FeatureStore) -> None:
    assert (service_name("2.0.0"), service_name(LATEST)) == ("features_v2_0_0", "features_latest")
    for version in (*registry_versions(), LATEST):
        service = applied.get_feature_service(service_name(version))
        served = [field.name for projection in service.feature_view_projections for field in projection.features]
        assert sorted(served) == sorted(load_registry_version(version).feature_set.columns)


def test_names_that_share_a_field_of_the_online_store_are_refused(tmp_path: Path) -> None:
    objects = definitions(features_folder=tmp_path / "features")
    view = next(item for item in objects if isinstance(item, FeatureView))
    fields = view.features
    view.features = [copy.copy(fields[0]), copy.copy(fields[1])]
    view.name = "fv0"
    view.features[0].name, view.features[1].name = "ob_imb_l61300", "ob_imb_l183962"
    with pytest.raises(DeclarationError, match="fv0:ob_imb_l183962: must not share its 32-bit field"):
        apply_definitions(store_on(tmp_path / "registry.db"), objects)


def test_the_default_log_folder_is_the_settings_default() -> None:
    assert DEFAULT_FEATURES_FOLDER == "data/features"
