"""The composition root: settings in, connected objects out."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from market.errors import StoreUnavailable
from runtime.settings import Settings

if TYPE_CHECKING:
    from api.services import ApiServices
    from feature_repo.apply import PlannedChange
    from feature_repo.store import FeatureStore
    from ingestion.pipeline import Availability, Pipeline, RowSink
    from storage.instruments import InstrumentPins
    from storage.metadata import Metadata
    from storage.online import OnlineStore
    from training_sets.builder import BuildPlace
    from training_sets.builds import DatasetBuilds
    from training_sets.rebuild_days import Rebuild
    from transforms.plan import Kernel


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of this process are: configured ones, or embedded ones that stop with it."""

    redis_host: str
    redis_port: int
    redis_db: int
    redis_password: str | None
    postgres_url: str
    redis_tls: bool = False
    redis_tls_ca_file: str | None = None

    @property
    def feast_connection_string(self) -> str:
        """The address as Feast's Redis online store takes it."""
        parts = [f"{self.redis_host}:{self.redis_port}", f"db={self.redis_db}"]
        if self.redis_password is not None:
            parts.append(f"password={self.redis_password}")
        if self.redis_tls:
            parts.append("ssl=true")
        if self.redis_tls_ca_file is not None:
            parts.append(f"ssl_ca_certs={self.redis_tls_ca_file}")
        return ",".join(parts)


def kernel_cache_folder(settings: Settings) -> Path:
    """Where compiled kernels are kept."""
    return settings.feature_service_cache_path / "kernels"


@contextmanager
def running_servers(settings: Settings) -> Iterator[Servers]:
    """Redis and PostgreSQL: those configured, those another process of ours runs on the same data, or embedded ones.

    While embedded servers run, their addresses stand in ``servers.json`` in the data folder, for other commands.
    """
    data_folder = settings.feature_service_data_path
    shared = _servers_of_another_process(data_folder)
    with ExitStack() as stack:
        redis_host, redis_port = settings.redis_host, settings.redis_port
        is_embedded = False
        if redis_host is None and shared is not None:
            redis_host, redis_port = shared.redis_host, shared.redis_port
        elif redis_host is None:
            from runtime.embedded import embedded_redis

            address = stack.enter_context(embedded_redis(data_folder / "redis"))
            redis_host, redis_port, is_embedded = address.host, address.port, True
        if settings.postgres_host is not None:
            postgres_url = _postgres_url(settings)
        elif shared is not None:
            postgres_url = shared.postgres_url
        else:
            from runtime.embedded import embedded_postgres

            postgres_url = stack.enter_context(embedded_postgres(data_folder / "postgres"))
            is_embedded = True
        password, ca_file = settings.redis_password, settings.redis_tls_ca_file
        servers = Servers(
            redis_host,
            redis_port,
            settings.redis_db if settings.redis_host is not None else 0,
            password.get_secret_value() if password is not None and settings.redis_host is not None else None,
            postgres_url,
            redis_tls=settings.redis_tls and settings.redis_host is not None,
            redis_tls_ca_file=None if ca_file is None or settings.redis_host is None else str(ca_file.resolve()),
        )
        if is_embedded:
            stack.enter_context(_announced(data_folder, servers))
        yield servers


def instrument_pins(settings: Settings) -> InstrumentPins:
    """The pinned scales of the raw folder."""
    from storage.instruments import InstrumentPins

    return InstrumentPins(settings.raw_data_storage_path)


def compiled_kernel(settings: Settings, version: str) -> Kernel:
    """The kernel of a registry version. Raises NotFound or InvalidRegistry."""
    from feature_repo.registry_versions import load_registry_version
    from transforms.plan import compile_kernel

    chosen = load_registry_version(version, settings.feature_registry_versions_dir).feature_set
    return compile_kernel(chosen, kernel_cache_folder(settings))


def day_rebuild(settings: Settings, symbol: str, version: str) -> Rebuild:
    """The rebuild of a symbol's days for a registry version. Raises NotFound or InvalidRegistry."""
    from feature_repo.registry_versions import load_registry_version
    from training_sets.rebuild_days import Rebuild

    return Rebuild(
        raw_folder=settings.raw_data_storage_path,
        features_folder=settings.feature_log_storage_path,
        kernel_cache=kernel_cache_folder(settings),
        symbol=symbol,
        feature_set=load_registry_version(version, settings.feature_registry_versions_dir).feature_set,
    )


def make_pipeline(
    settings: Settings,
    kernel: Kernel,
    *,
    sinks: Sequence[RowSink] = (),
    availability: Availability | None = None,
    log_flush_rows: int = 3600,
) -> Pipeline:
    """A pipeline into the raw folder and the feature log, and to further sinks.

    availability: when rows count as readable; None is the live rule. log_flush_rows: rows of a symbol that wait for one
    part of the feature log.
    """
    from ingestion.dead_letter import DeadLetter
    from ingestion.pipeline import Pipeline, available_now
    from ingestion.sinks import FeatureLogSink
    from storage.feature_log import FeatureLogWriter

    return Pipeline(
        kernel,
        instrument_pins(settings),
        raw_folder=settings.raw_data_storage_path,
        dead_letter=DeadLetter(settings.raw_data_storage_path / "dead_letter.jsonl"),
        sinks=[FeatureLogSink(FeatureLogWriter(settings.feature_log_storage_path, flush_rows=log_flush_rows)), *sinks],
        availability=availability or available_now,
        tape_sync_ms=settings.feature_service_tape_sync_ms,
    )


def online_store(servers: Servers) -> OnlineStore:
    """The online store on Redis."""
    from feature_repo.store import PROJECT
    from storage.online import OnlineStore

    return OnlineStore.connect(
        host=servers.redis_host,
        port=servers.redis_port,
        db=servers.redis_db,
        password=servers.redis_password,
        tls=servers.redis_tls,
        tls_ca_file=servers.redis_tls_ca_file,
        project=PROJECT,
    )


def feature_store(servers: Servers, *, is_writer: bool = False) -> FeatureStore:
    """Feast's store on the SQL registry, our online store and our offline store; definitions must have been applied."""
    from feature_repo.store import open_store, sql_registry
    from storage.metadata import FEAST_READER_ENGINE, FEAST_WRITER_ENGINE

    return open_store(
        registry=sql_registry(
            postgres_url=servers.postgres_url, engine_options=FEAST_WRITER_ENGINE if is_writer else FEAST_READER_ENGINE
        ),
        redis_connection=servers.feast_connection_string,
    )


def apply_feature_store(settings: Settings, servers: Servers) -> list[str]:
    """Register every definition, one apply at a time; returns the changes, a line each.

    Afterwards the registry is exported, with the yaml that applications read with.
    """
    return [str(change) for change in _planned(settings, servers, is_applied=True)]


def plan_feature_store(settings: Settings, servers: Servers) -> list[str]:
    """What ``apply_feature_store`` would change, a line each; no definition is registered."""
    return [str(change) for change in _planned(settings, servers, is_applied=False)]


def _planned(settings: Settings, servers: Servers, *, is_applied: bool) -> list[PlannedChange]:
    from feature_repo.apply import apply_definitions, plan
    from feature_repo.definitions import definitions
    from feature_repo.store import closing_registry, export_registry
    from storage.metadata import feast_schema_locked

    objects = definitions(
        features_folder=settings.feature_log_storage_path.resolve(),
        versions_folder=settings.feature_registry_versions_dir,
    )
    with (
        feast_schema_locked(servers.postgres_url),
        closing_registry(feature_store(servers, is_writer=True)) as store,
    ):
        changes = plan(store, objects)
        if is_applied:
            apply_definitions(store, objects)
            export_registry(store, write_client_yaml(settings, servers).with_name("registry.db"))
    return changes


@contextmanager
def metadata_store(servers: Servers) -> Iterator[Metadata]:
    """The metadata tables, brought up to the newest schema."""
    from storage.metadata import Metadata, upgrade

    upgrade(servers.postgres_url)
    metadata = Metadata(servers.postgres_url)
    try:
        yield metadata
    finally:
        metadata.close()


@contextmanager
def dataset_builds(settings: Settings, servers: Servers) -> Iterator[DatasetBuilds]:
    """Dataset builds in the settings' folders; the definitions must have been applied."""
    with metadata_store(servers) as metadata, _dataset_builds(settings, servers, metadata) as builds:
        yield builds


@contextmanager
def api_services(settings: Settings, servers: Servers) -> Iterator[ApiServices]:
    """What the HTTP API needs; the definitions must have been applied. Interrupted builds are marked as failed."""
    from api.services import ApiServices
    from market.clock import SystemClock

    key = settings.feature_service_api_key
    with (
        metadata_store(servers) as metadata,
        _dataset_builds(settings, servers, metadata) as builds,
        closing(online_store(servers)) as online,
    ):
        builds.fail_interrupted()
        yield ApiServices(
            online=online,
            metadata=metadata,
            builds=builds,
            clock=SystemClock(),
            api_key=None if key is None else key.get_secret_value(),
            make_trace_id=_new_id,
            symbols=settings.feature_service_symbols,
            raw_folder=settings.raw_data_storage_path,
            versions_folder=settings.feature_registry_versions_dir,
        )


@contextmanager
def _dataset_builds(settings: Settings, servers: Servers, metadata: Metadata) -> Iterator[DatasetBuilds]:
    from market.clock import SystemClock
    from training_sets.builds import DatasetBuilds

    builds = DatasetBuilds(
        metadata,
        open_place=partial(build_place, settings, servers),
        datasets_folder=settings.dataset_storage_path,
        features_folder=settings.feature_log_storage_path,
        versions_folder=settings.feature_registry_versions_dir,
        clock=SystemClock(),
        make_id=_new_id,
    )
    try:
        yield builds
    finally:
        builds.close()


def build_place(settings: Settings, servers: Servers) -> BuildPlace:
    """Where a dataset build finds its stores, and the settings' rules."""
    from market.clock import SECOND_NS
    from quality.continuity import ContinuityRules
    from training_sets.builder import BuildPlace

    return BuildPlace(
        store=feature_store(servers),
        features_folder=settings.feature_log_storage_path,
        raw_folder=settings.raw_data_storage_path,
        versions_folder=settings.feature_registry_versions_dir,
        kernels_folder=kernel_cache_folder(settings),
        continuity=ContinuityRules(
            max_gap_ratio=settings.dataset_max_timestamp_gap_ratio,
            min_coverage=settings.dataset_min_coverage_ratio,
            critical_gap_ns=settings.dataset_critical_gap_threshold_seconds * SECOND_NS,
            fail_on_critical=settings.dataset_fail_on_large_gaps,
        ),
        has_quality_gate=settings.dataset_quality_checks_enabled,
    )


def _new_id() -> str:
    return uuid.uuid4().hex


def write_client_yaml(settings: Settings, servers: Servers) -> Path:
    """``client/feature_store.yaml`` in the data folder: all that a process with Feast alone needs to read online."""
    from feature_repo.store import client_yaml

    path = settings.feature_service_data_path / "client" / "feature_store.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        client_yaml(registry=(path.parent / "registry.db").resolve(), redis_connection=servers.feast_connection_string)
    )
    return path


def _postgres_url(settings: Settings) -> str:
    password = settings.postgres_password
    secret = "" if password is None else f":{quote(password.get_secret_value(), safe='')}"
    return (
        f"postgresql+psycopg://{quote(settings.postgres_user, safe='')}{secret}@"
        f"{settings.postgres_host}:{settings.postgres_port}/{settings.postgres_db}"
    )


@contextmanager
def _announced(data_folder: Path, servers: Servers) -> Iterator[None]:
    path = data_folder / "servers.json"
    path.write_text(json.dumps({"pid": os.getpid(), **asdict(servers)}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _servers_of_another_process(data_folder: Path) -> Servers | None:
    path = data_folder / "servers.json"
    try:
        announced: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    pid = announced.pop("pid")
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return Servers(**announced)
    return None


def require_servers_of_another_process(settings: Settings) -> None:
    """Raises StoreUnavailable when nothing is configured or running that could hold online rows."""
    if settings.redis_host is None and _servers_of_another_process(settings.feature_service_data_path) is None:
        raise StoreUnavailable(
            "online store: must be configured by REDIS_HOST or kept by a running feature-service, was neither"
        )
