"""The whole API on real embedded servers, with live vectors of a simulated market and workers that build datasets.

Each file has a service of its own, because tests build, delete and compact what it holds.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.services import ApiServices
from feature_repo.registry_versions import SHIPPED_FOLDER
from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sinks.sinks import OnlineSink
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from registry.serving import ServedVersion
from runtime.building import dataset_builds
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers, running_servers
from runtime.serving import api_services
from runtime.settings import Settings, load_settings
from runtime.stores import open_stores
from runtime.wiring import compiled_kernel, make_pipeline, online_store
from tests.api_service import DURATION_NS, KEY, START_NS, Newest, asked, finished, working
from transforms.rows import FeatureRows


@pytest.fixture(scope="module")
def settings(kernel_cache: Path) -> Iterator[Settings]:
    # Not pytest's own folder: another run of it closes the passage that root's PostgreSQL needs to get to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-") as folder:
        # The API builds with the newest version there is: the one that is served here.
        versions = Path(folder) / "versions"
        versions.mkdir()
        shutil.copy(SHIPPED_FOLDER / "1.0.0.yaml", versions)
        yield load_settings(
            {
                "FEATURE_SERVICE_DATA_PATH": folder,
                "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
                "FEATURE_SERVICE_API_KEY": KEY,
                "FEATURE_REGISTRY_VERSIONS_DIR": str(versions),
                "FEATURE_SERVICE_SYMBOLS": "BTCUSDT,ETHUSDT",
                "REDIS_HOST": None,
                "POSTGRES_HOST": None,
            },
            env_file=None,
        )


@pytest.fixture(scope="module")
def servers(settings: Settings) -> Iterator[Servers]:
    with running_servers(settings) as found:
        apply_feature_store(settings, found)
        yield found


@pytest.fixture(scope="module")
def newest(settings: Settings, servers: Servers) -> dict[str, FeatureRows]:
    """The last rows of a short simulated market, which is in the online store and in the feature log."""
    sink = Newest()
    pipeline = make_pipeline(
        settings,
        compiled_kernel(settings, "1.0.0"),
        sinks=[OnlineSink(online_store(servers)), sink],
        availability=available_as_if_live,
    )
    with closing(pipeline):
        play(pipeline, simulate(DEFAULT_SYMBOLS, seed=3, start_ns=START_NS, duration_ns=DURATION_NS))
    return sink.rows


@pytest.fixture(scope="module")
def services(settings: Settings, servers: Servers, newest: dict[str, FeatureRows]) -> Iterator[ApiServices]:
    assert set(newest) == {"BTCUSDT", "ETHUSDT"}
    with (
        api_services(settings, servers, open_stores(settings), serving=ServedVersion("1.0.0")) as found,
        dataset_builds(settings, servers, open_stores(settings)) as builds,
        working(builds),
    ):
        yield found


@pytest.fixture(scope="module")
def client(services: ApiServices) -> Iterator[TestClient]:
    with TestClient(create_app(services), headers={"X-API-Key": KEY}) as found:
        yield found


@pytest.fixture(scope="module")
def ready(client: TestClient) -> dict[str, Any]:
    """A dataset that was built through the API."""
    started = client.post("/dataset/build", json=asked())
    assert started.status_code == 202
    document = finished(client, started.json()["dataset_id"])
    assert (document["status"], document["error_message"]) == ("ready", None)
    return document
