"""What tests of the feature server share: one repository on one Redis, served by our API and by Feast's own server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest
from fastapi.testclient import TestClient
from feast import FeatureStore, RepoConfig
from feast.feature_server import get_app

from api.app import create_app
from api.services import ApiServices
from backfill.jobs import BackfillJobs
from feature_repo.serving import FeatureServing
from market.clock import SECOND_NS, ManualClock
from registry.life_cycle import RegistryLifeCycle
from storage.database.metadata import Metadata
from storage.database.quality_reports import QualityReports
from storage.features.log import FeatureLog
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.raw.raw_data import RawData
from tests.feast_served import KEY, Served, objects
from tests.redis_servers import HOST, PORT, own_project
from tests.three_features import B
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.datasets import Datasets


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for each file: its tests write rows and apply objects."""
    folder = tmp_path_factory.mktemp("serving")
    with own_project("serving") as project:
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"},
            offline_store={"type": "feature_repo.offline_store.AsOfOfflineStore"},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
        store = FeatureStore(config=config)
        with pytest.warns(RuntimeWarning, match="experimental"):  # of features that Feast computes
            store.apply(objects(folder))
        address = redis_settings(f"{HOST}:{PORT}")
        clock = ManualClock(B + SECOND_NS)
        with (
            closing(OnlineStore.connect(address, project=project)) as online,
            closing(FeatureServing(lambda: FeatureStore(config=config), now_s=lambda: 0.0)) as serving,
        ):
            services = ApiServices(
                online=online,
                metadata=cast("Metadata", None),
                builds=cast("DatasetBuilds", None),
                backfills=cast("BackfillJobs", None),
                quality_reports=cast("QualityReports", None),
                feed=RowFeed.connect(address, project=project),
                clock=clock,
                api_key=KEY,
                make_trace_id=lambda: "t",
                symbols=("BTCUSDT",),
                raw=RawData(folder),
                versions_folder=folder,
                features=FeatureLog(folder),
                datasets=Datasets(folder),
                life_cycle=cast("RegistryLifeCycle", None),
                feature_server=serving,
            )
            app = create_app(services)
            with (
                TestClient(app, headers={"Authorization": f"Bearer {KEY}"}) as ours,
                TestClient(get_app(store, registry_ttl_sec=0)) as feasts,
            ):
                yield Served(store, online, ours, feasts, clock, app)
