"""Feast's compute engine on the engines of the service: ``feast materialize`` brings views online side by side.

1. Each view is a task, which Feast's local engine performs in whichever process the engine gives it to. So the rows
   are those that Feast writes without this engine.
2. A task that finds more rows than ``rows_per_task`` says how many and writes none. The view is cut by its keys then:
   each part is a task, which reads the same rows and writes those of its keys. Reading is the smaller share.
3. Where a view is computed from others or writes its source, another may read what it wrote: all are one task then, in
   the order in which they were asked for, and none is cut.
4. What performs tasks is above this folder, so it is opened by its name, as Feast opens its stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from feast import FeatureView, RepoConfig
from feast.infra.common.materialization_job import MaterializationJob, MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from pydantic import ConfigDict, PositiveInt

from feature_repo.key_parts import WHOLE, KeyPart, LargeView, PartOfStore, can_be_cut
from feature_repo.store import FeatureStore, closing_registry
from market.errors import FeatureServiceError, InvalidRequest

OPENED_BY: Final = "runtime.engines.engine_of_repository"


class FeatureServiceEngineConfig(FeastConfigBaseModel):
    """What ``batch_engine`` of a feature_store.yaml may say; the service's settings say what is left out."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["feature_repo.engine.FeatureServiceEngine"] = "feature_repo.engine.FeatureServiceEngine"
    engine: Literal["pool", "queue", "ray"] | None = None
    """As FEATURE_SERVICE_ENGINE; with ``ray_address`` it is Ray."""
    ray_address: str | None = None
    """As RAY_ADDRESS: the head's host:port, or auto."""
    max_workers: PositiveInt | None = None
    """As FEATURE_SERVICE_ENGINE_WORKERS."""
    rows_per_task: PositiveInt = 50_000
    """More rows of a view are written by several tasks. A process of a pool takes seconds to import Feast."""
    backend: Literal["pandas", "polars"] | None = None
    """What transformations of batch views are given, as of Feast's local engine."""


@dataclass(frozen=True, slots=True)
class AskedMaterialization:
    """A view, and the event times of the rows that are brought online."""

    view: str
    start: datetime
    end: datetime
    only_latest: bool
    disable_event_timestamp: bool
    part: KeyPart = WHOLE


@dataclass(frozen=True, slots=True)
class Materialized:
    """How the materialization of a view ended; error: one of ours, or any other by its text.

    rows: of a view that has too many for a task, of which nothing was written; 0 of any other.
    """

    view: str
    error: Exception | None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class MaterializeViews:
    """Views brought online one after the other: a task, as an engine performs them."""

    config: RepoConfig
    backend: str | None
    asked: tuple[AskedMaterialization, ...]

    def perform(self, is_stopping: Callable[[], bool]) -> list[Materialized]:
        """How each ended, in order; stopped, those that were begun."""
        done = []
        with closing_registry(FeatureStore(config=self.config)) as store:
            if self.config.repo_path is not None:
                store.repo_path = self.config.repo_path  # a registry's relative path begins there
            for asked in self.asked:
                if is_stopping():
                    break
                done.append(self._materialized(store, asked))
        return done

    def _materialized(self, store: FeatureStore, asked: AskedMaterialization) -> Materialized:
        """Bring one view online by Feast's local engine; its error may have to reach another process."""
        provider: Any = store.provider
        local = LocalComputeEngine(
            repo_config=self.config,
            offline_store=PartOfStore(provider.offline_store, asked.part),
            online_store=provider.online_store,
            backend=self.backend,
        )
        try:
            task = MaterializationTask(
                project=store.project,
                feature_view=cast("FeatureView", store.registry.get_any_feature_view(asked.view, store.project)),
                start_time=asked.start,
                end_time=asked.end,
                only_latest=asked.only_latest,
                disable_event_timestamp=asked.disable_event_timestamp,
            )
            [job] = local.materialize(store.registry, task)
            error = job.error()
        except Exception as raised:  # noqa: BLE001  # told to the process that asked
            error = raised
        if isinstance(error, LargeView):
            return Materialized(asked.view, None, error.rows)
        if error is None or isinstance(error, FeatureServiceError):
            return Materialized(asked.view, error)
        return Materialized(asked.view, RuntimeError(f"{type(error).__name__}: {error}"))


class Performing(Protocol):
    """An engine of the service."""

    @property
    def workers(self) -> int: ...

    def run(self, tasks: Sequence[MaterializeViews]) -> Iterator[list[Materialized]]: ...


class FeatureServiceEngine(LocalComputeEngine):
    """The class that ``batch_engine: type`` of a feature_store.yaml names.

    Raises InvalidRequest for an option that there is not.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # Feast's three, and those of the yaml
        stores = {name: options.pop(name) for name in ("repo_config", "offline_store", "online_store")}
        try:
            self.options = FeatureServiceEngineConfig(**options)
        except ValueError as error:
            raise InvalidRequest(f"batch_engine: must have the options of {__name__}, {error}") from error
        super().__init__(backend=self.options.backend, **stores)

    @property
    def supports_batch(self) -> bool:
        """Feast gives all views at once."""
        return True

    def materialize(
        self,
        registry: BaseRegistry,  # noqa: ARG002  # a worker opens its own
        tasks: MaterializationTask | list[MaterializationTask],
        **_: Any,  # noqa: ANN401  # Feast's interface
    ) -> list[MaterializationJob]:
        """Perform Feast's tasks; a job of each, in their order, with the error of those that failed.

        Raises StoreUnavailable when the engine cannot be reached.
        """
        listed = [tasks] if isinstance(tasks, MaterializationTask) else tasks
        config = self.repo_config.model_copy(
            update={"repo_path": None if self.repo_config.repo_path is None else self.repo_config.repo_path.absolute()}
        )
        errors: dict[str, Exception | None] = {}
        with self._engine() as engine:
            workers = 1 if engine is None else engine.workers
            runs = runs_of_views(listed, most_rows=None if workers == 1 else self.options.rows_per_task)
            large = {}
            for done in self._performed(engine, config, runs):
                errors[done.view] = done.error
                if done.rows:
                    large[done.view] = min(workers, -(-done.rows // self.options.rows_per_task))
            parts = [
                (replace(asked, part=KeyPart(number, count)),)
                for (asked, *_) in runs
                if (count := large.get(asked.view)) is not None
                for number in range(count)
            ]
            for done in self._performed(engine, config, parts):
                errors[done.view] = errors[done.view] or done.error
        return [_job(task, errors[task.feature_view.name]) for task in listed]

    def _performed(
        self, engine: Performing | None, config: RepoConfig, runs: Sequence[tuple[AskedMaterialization, ...]]
    ) -> Iterator[Materialized]:
        tasks = [MaterializeViews(config, self.options.backend, asked) for asked in runs]
        results: Iterator[list[Materialized]] = (task.perform(lambda: False) for task in tasks)
        if engine is not None and len(tasks) > 1:
            results = engine.run(tasks)
        for done in results:
            yield from done

    def _engine(self) -> AbstractContextManager[Performing | None]:
        module, _, name = OPENED_BY.rpartition(".")
        opened: AbstractContextManager[Performing | None] = getattr(import_module(module), name)(
            self.repo_config.repo_path or Path(),
            engine=self.options.engine,
            ray_address=self.options.ray_address,
            workers=self.options.max_workers,
        )
        return opened


def runs_of_views(
    tasks: Sequence[MaterializationTask], *, most_rows: int | None = None
) -> list[tuple[AskedMaterialization, ...]]:
    """The views of each task of an engine: one alone, or all where one may depend on another.

    most_rows: of one that can be cut.
    """
    asked = [
        AskedMaterialization(
            task.feature_view.name, task.start_time, task.end_time, task.only_latest, task.disable_event_timestamp
        )
        for task in tasks
    ]
    if any(task.feature_view.offline or task.feature_view.source_views for task in tasks):
        return [tuple(asked)]
    return [
        (replace(each, part=KeyPart(most_rows=most_rows)) if can_be_cut(task.feature_view) else each,)
        for task, each in zip(tasks, asked, strict=True)
    ]


def _job(task: MaterializationTask, error: Exception | None) -> LocalMaterializationJob:
    return LocalMaterializationJob(
        job_id=f"{task.feature_view.name}-{task.start_time}-{task.end_time}",
        status=MaterializationJobStatus.SUCCEEDED if error is None else MaterializationJobStatus.ERROR,
        error=error,
    )
