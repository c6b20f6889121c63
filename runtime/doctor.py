"""What keeps a service from running on this machine: settings, versions, servers, disk, object stores and clock."""

from __future__ import annotations

import errno
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, Literal

from market.clock import SECOND_NS, SystemClock, format_iso
from market.errors import FeatureServiceError, InvalidSettings
from runtime.package_names import foreign_names
from runtime.servers import Servers, running_servers
from runtime.settings import Settings, object_store_properties, unknown_settings

Verdict = Literal["ok", "check it", "wrong"]
BUILT_AT_NS: Final = 1_767_225_600 * SECOND_NS
"""2026-01-01: a clock that is earlier was never set."""
LIBRARIES: Final = ("feast", "numba", "numpy", "pandas", "pyarrow", "fastapi")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, the verdict, what was found, and what to do if it is wrong."""

    subject: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def examine(load: Callable[[], Settings]) -> Iterator[Finding]:
    """The findings, each as it is made; checks that depend on a failed one are left out.

    load: gives the settings. Servers that are not configured are started for the look, as ``run`` does.
    """
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    yield Finding("versions", "ok", f"Python {sys.version.split()[0]}, {versions}")
    yield from _package_names()
    for line in unknown_settings():
        yield Finding("settings", "check it", line, "nothing reads it: correct its name or remove it")
    try:
        settings = load()
    except InvalidSettings as error:
        for problem in error.problems:
            yield Finding("settings", "wrong", problem, "env.example lists the allowed values")
        return
    yield Finding("settings", "ok", f"data in {settings.feature_service_data_path.resolve()}")
    yield from _feature_modules(settings)
    yield _clock()
    yield from _disks(settings)
    yield from _object_stores(settings)
    try:
        with running_servers(settings) as servers:
            yield from _servers(settings, servers)
    except FeatureServiceError as error:
        yield Finding("servers", "wrong", str(error), "start it, or leave its host empty for an embedded one")


def _package_names() -> Iterator[Finding]:
    remedy = "install feature-service into an environment of its own, as pipx and uvx do"
    for line in foreign_names():
        yield Finding("package names", "wrong", line, remedy)


def _feature_modules(settings: Settings) -> Iterator[Finding]:
    from transforms.outside import outside_modules

    try:
        imported = [module.__name__ for module in outside_modules()]
    except FeatureServiceError as error:
        yield Finding("features of other packages", "wrong", str(error), "correct it or remove its name")
        return
    left = sorted({*(settings.feature_service_feature_modules or ())} - {*imported})
    if left:
        remedy = "set FEATURE_SERVICE_FEATURE_MODULES in the environment: a file of settings is read too late"
        yield Finding("features of other packages", "wrong", f"{', '.join(left)}: not imported", remedy)
    elif imported:
        yield Finding("features of other packages", "ok", ", ".join(imported))


def _clock() -> Finding:
    now_ns = SystemClock().now_ns()
    if now_ns < BUILT_AT_NS:
        return Finding("clock", "wrong", format_iso(now_ns), "set it and synchronise it with NTP: rows carry its time")
    return Finding("clock", "ok", f"{format_iso(now_ns)}; its accuracy cannot be checked here")


def _disks(settings: Settings) -> Iterator[Finding]:
    from storage.disk import disk_use

    folders = {
        settings.raw_folder,
        settings.feature_log_storage_path,
        settings.attempts_folder,
        settings.feature_service_cache_path,
    }
    seen: set[int] = set()
    for folder in sorted(place for place in folders if isinstance(place, Path)):
        if (refusal := _refusal(folder)) is not None:
            remedy = "mount it for writing, or give this account the right to write to it"
            yield Finding("disk", "wrong", f"{folder.resolve()}: cannot be written: {refusal}", remedy)
            continue
        use = disk_use(folder)
        if use.device in seen:
            continue
        seen.add(use.device)
        told = f"{folder.resolve()}: {use.percent:.0f} % used, {use.free / 1e9:.1f} GB free"
        if use.percent >= settings.feature_service_disk_stop_percent:
            yield Finding("disk", "wrong", told, "free some space: ingest stops before a disk is full")
        elif use.percent >= settings.feature_service_disk_warn_percent:
            yield Finding("disk", "check it", told, "free some space, or lower FEATURE_SERVICE_RETENTION_DAYS")
        else:
            yield Finding("disk", "ok", told)


def _refusal(folder: Path) -> str | None:
    """Why no file can be made in a folder, or in the one above where it would be made; None when one can be."""
    present = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with TemporaryFile(dir=present):
            return None
    except OSError as error:
        return None if error.errno == errno.ENOSPC else error.strerror  # how full it is is looked at next


def _object_stores(settings: Settings) -> Iterator[Finding]:
    from runtime.wiring import object_places

    for place in object_places(settings):
        try:
            object_store_properties()  # of which the endpoint is checked
            place.probe()
        except FeatureServiceError as error:
            yield Finding("object store", "wrong", str(error))
        else:
            yield Finding("object store", "ok", f"{place}: objects can be written, read and deleted")


def _servers(settings: Settings, servers: Servers) -> Iterator[Finding]:
    from ingestion.rabbitmq.check import check_broker
    from runtime.wiring import broker_address, online_store
    from storage.database.metadata import Metadata

    with closing(online_store(servers)) as online:
        name = "embedded" if settings.redis_host is None else f"{settings.redis_host}:{settings.redis_port}"
        yield _asked("Redis", name, online.ping, "REDIS_DB")
    with closing(Metadata(servers.postgres_url)) as metadata:
        yield _asked("PostgreSQL", settings.postgres_host or "embedded", metadata.size_bytes, "POSTGRES_DB")
    if settings.rabbitmq_host is None:
        yield Finding("RabbitMQ", "ok", "not configured: rows stay in the process, the gateway cannot be read")
    else:
        address = broker_address(settings)
        yield _asked("RabbitMQ", settings.rabbitmq_host, lambda: check_broker(address), "RABBITMQ_VHOST")


def _asked(subject: str, name: str, ask: Callable[[], object], place: str) -> Finding:
    try:
        ask()
    except FeatureServiceError as error:
        return Finding(subject, "wrong", str(error), f"check that {name} is reachable, user, password and {place}")
    return Finding(subject, "ok", f"{name} answers")
