"""The registry versions of a running ingest role: the one that it follows, and those that it serves next to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial

from feature_repo.project import PROJECT
from feature_repo.registry_versions import DEFAULT_VERSION, load_registry_version
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.resuming import VersionBefore
from ingestion.worker.shadow_process import ShadowPlan
from ingestion.worker.shadow_serving import ShadowServing
from ingestion.worker.version_change import VersionChanger
from ingestion.worker.version_following import VersionFollowing
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel, online_store, warming_plan
from storage.database.activations import ActivationStore
from storage.database.registry_records import Change
from storage.database.registry_versions import RegistryStore
from storage.online.shadow_rows import drop_shadows
from transforms.kernel import Kernel
from transforms.rows import FeatureSet


class RoleVersions:
    """What keeps one pipeline at the versions that the database names."""

    def __init__(self, settings: Settings, servers: Servers, worker_id: str, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._servers = servers
        self._worker_id = worker_id
        self._now = now

    @contextmanager
    def following(
        self, pipeline: Pipeline, serving: Kernel, *, on_changed: Callable[[Kernel], object]
    ) -> Iterator[None]:
        """The pipeline changes with the active version meanwhile. serving: what it computes with now."""
        settings, folder = self._settings, self._settings.feature_registry_versions_dir
        plan = warming_plan(settings)
        url = self._servers.postgres_url
        with closing(RegistryStore(url)) as versions:
            following = VersionFollowing(
                ActivationStore(url),
                VersionChanger(pipeline, plan, budget_ms=settings.feature_registry_row_budget_ms),
                serving,
                worker_id=self._worker_id,
                load=lambda version: load_registry_version(version, folder).feature_set,
                default=DEFAULT_VERSION,
                take_back=lambda activation, reason: versions.take_back(
                    activation.id,
                    Change(
                        at=self._now(),
                        action="take_back",
                        version=activation.version,
                        previous_version=activation.previous_version,
                        origin=f"worker {self._worker_id}",
                        reason=reason,
                    ),
                ),
                on_changed=on_changed,
                now=self._now,
            )
            following.start()
            with closing(following):
                yield

    @contextmanager
    def beside(self, pipeline: Pipeline, *, fences: Callable[[], Mapping[str, int]]) -> Iterator[ShadowServing]:
        """Serves the versions that the database wants next to the active one."""
        settings, folder = self._settings, self._settings.feature_registry_versions_dir

        def plan(chosen: FeatureSet) -> ShadowPlan:
            return ShadowPlan(
                replace(warming_plan(settings), feature_set=chosen),
                settings.feature_log_storage_path,
                self._servers.online_store,
                PROJECT,
                settings.feature_registry_row_budget_ms,
            )

        with (
            closing(RegistryStore(self._servers.postgres_url)) as versions,
            closing(online_store(self._servers)) as store,
        ):
            serving = ShadowServing(
                lambda: pipeline.lanes,
                wanted=versions.shadows,
                load=lambda version: load_registry_version(version, folder).feature_set,
                plan=plan,
                drop=partial(drop_shadows, store),
                fences=fences,
            )
            serving.start()
            with closing(serving):
                yield serving


def version_before(settings: Settings, servers: Servers, version: str) -> VersionBefore | None:
    """What workers served up to the row behind which this version came."""
    with closing(ActivationStore(servers.postgres_url)) as store:
        activation = store.last_committed(version)
    if activation is None or activation.from_row_ns is None:
        return None
    # Loaded where a checkpoint may be of it alone.
    kernel = partial(compiled_kernel, settings, activation.previous_version)
    return VersionBefore(kernel, activation.from_row_ns)
