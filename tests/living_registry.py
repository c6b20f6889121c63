"""A life cycle of registry versions in a folder of its own, with definitions to live through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from feature_repo.registry_versions import DEFAULT_VERSION, SHIPPED_FOLDER
from registry.active import ActiveVersion
from registry.agreement import Agreement
from registry.differences import Differences, RowCost
from registry.folder import VersionFolder
from registry.life_cycle import RegistryLifeCycle
from registry.states import Asked
from storage.database.activations import ActivationStore
from storage.database.dataset_records import DatasetRecord
from storage.database.ingest_workers import living_workers
from storage.database.metadata import Metadata
from storage.database.registry_versions import RegistryStore
from tests.postgres_servers import empty_tables
from transforms.rows import FeatureSet

NOON: Final = datetime(2026, 8, 9, 12, tzinfo=UTC)
BY_ANNA: Final = Asked(origin="test", made_by="anna", reason="to see", trace_id="t1")


def entry(name: str, source: str = "orderbook", **changes: object) -> dict[str, Any]:
    return {
        "name": name,
        "input_sources": [source],
        "lookback_window": "1m",
        "lookahead_forbidden": True,
        "max_lookback_days": 1,
        **changes,
    }


MID: Final = {"features": [entry("mid_price")]}
MID_AND_SPREAD: Final = {"features": [entry("mid_price"), entry("spread_abs")]}


class Living:
    """A life cycle in a folder of its own, whose announcements are counted."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder / "registry"
        self.store = RegistryStore(url)
        self.metadata = Metadata(url)
        self.activations = ActivationStore(url)
        self.now = NOON
        self.on_wait: Callable[[], None] = lambda: None
        self.announced = 0
        self.withdrawn: list[str] = []
        self.cost_ms: float | None = 0.25
        """What a row of any version costs; None where it cannot be measured."""
        self.agreement = Agreement(
            self.activations,
            workers=lambda: living_workers(self.metadata, self.now),
            now=lambda: self.now,
            wait=self.pass_time,
            within=timedelta(minutes=5),
        )
        self.cycle = RegistryLifeCycle(
            ActiveVersion(self.store),
            self.agreement,
            differences=Differences(VersionFolder(self.folder), folder / "features", self._measure),
            row_budget_ms=3.0,
            now=lambda: self.now,
            services=self,
        )

    def _measure(self, sets: list[FeatureSet]) -> list[RowCost]:
        return [RowCost(self.cost_ms, 60) if self.cost_ms else RowCost(None, 0, "no tape") for _ in sets]

    def announce(self) -> None:
        self.announced += 1

    def withdraw(self, version: str) -> None:
        self.withdrawn.append(version)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.on_wait()

    def close(self) -> None:
        self.store.close()
        self.metadata.close()
        self.activations.close()

    def actions(self) -> list[tuple[str, str]]:
        """Oldest first."""
        return [(line["action"], line["version"]) for line in reversed(self.cycle.audit())]

    def write(self, version: str, text: str) -> None:
        (self.folder / f"{version}.yaml").write_text(text)

    def add_dataset(self, version: str) -> None:
        record = DatasetRecord(
            dataset_id=f"d of {version}",
            symbols=("BTCUSDT",),
            request={},
            feature_registry_version=version,
            feature_set="f",
            created_at=NOON,
            updated_at=NOON,
        )
        self.metadata.create_dataset(record)


@pytest.fixture
def living(url: str, tmp_path: Path) -> Iterator[Living]:
    empty_tables(url)
    with closing(Living(url, tmp_path)) as found:
        found.folder.mkdir()
        found.write(DEFAULT_VERSION, (SHIPPED_FOLDER / f"{DEFAULT_VERSION}.yaml").read_text())
        yield found
