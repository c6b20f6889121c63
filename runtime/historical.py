"""Ticks for Feast's historical retrieval: what a feature_store.yaml names as their source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.settings import Settings, load_settings
from runtime.stores import open_stores
from runtime.wiring import kernel_cache_folder

if TYPE_CHECKING:
    from training_sets.samples.given_ticks import GivenTicks

TICK_SOURCE: Final = "runtime.historical.given_ticks"


def given_ticks(repo_path: Path, **settings: str) -> GivenTicks:
    """The source on the folders of a service.

    settings: by the names of their variables; what is not given is taken from the environment and the repository's
    ``.env``. Raises InvalidSettings.
    """
    from training_sets.samples.given_ticks import GivenTicks

    found = load_settings(settings, env_file=repo_path / ".env")
    stores = open_stores(found)
    return GivenTicks(
        features=stores.features,
        raw=stores.raw,
        versions_folder=found.feature_registry_versions_dir,
        kernels_folder=kernel_cache_folder(found),
        grid_ns=found.row_grid_ns,
    )


def tick_options(settings: Settings) -> dict[str, str]:
    """What ``given_ticks`` needs of these settings, for a process with other ones."""
    folders = {
        "FEATURE_SERVICE_DATA_PATH": settings.feature_service_data_path,
        "RAW_DATA_STORAGE_PATH": settings.raw_data_storage_path,
        "FEATURE_LOG_STORAGE_PATH": settings.feature_log_storage_path,
        "DATASET_STORAGE_PATH": settings.dataset_storage_path,
        "FEATURE_REGISTRY_VERSIONS_DIR": settings.feature_registry_versions_dir,
        "FEATURE_SERVICE_CACHE_PATH": settings.feature_service_cache_path,
    }
    return {
        **{name: str(folder.resolve()) for name, folder in folders.items()},
        "FEATURE_SERVICE_ROW_GRID": settings.feature_service_row_grid,
    }
