"""The servers of a process: those configured, those another process of ours runs on the same data, or embedded ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from market.errors import CorruptStore, StoreUnavailable
from runtime.settings import Settings
from storage.durable_files import changing_files


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of this process are: configured ones, or embedded ones that stop with it."""

    redis_host: str
    redis_port: int
    redis_db: int
    redis_password: str | None = field(repr=False)
    postgres_url: str = field(repr=False)
    redis_tls: bool = False
    redis_tls_ca_file: str | None = None
    redis_type: str = "redis"
    """As Feast names it; of a cluster or sentinels ``redis_host`` may name several, host or host:port, by commas."""
    redis_sentinel_master: str = "mymaster"
    embedded_pids: tuple[int, ...] = ()
    """The processes of embedded servers, which end with the one that started them."""

    @property
    def feast_online_store(self) -> dict[str, str]:
        """The ``online_store`` part of a feature_store.yaml."""
        nodes = [f"{self.redis_host}:{self.redis_port}"]
        if self.redis_type != "redis":
            named = self.redis_host.split(",")
            nodes = [node if ":" in node else f"{node}:{self.redis_port}" for node in named]
        options = {
            "db": None if self.redis_type == "redis_cluster" else str(self.redis_db),
            "password": None if self.redis_password is None else _as_option(self.redis_password),
            "ssl": "true" if self.redis_tls else None,
            "ssl_ca_certs": self.redis_tls_ca_file,
        }
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        settings = {"type": "redis", "connection_string": ",".join([*nodes, *given])}
        if self.redis_type != "redis":
            settings["redis_type"] = self.redis_type
        if self.redis_type == "redis_sentinel":
            settings["sentinel_master"] = self.redis_sentinel_master
        return settings


def _as_option(text: str) -> str:
    """A text as an option of Feast's connection string, which is parted at commas and read as JSON where it is JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        if "," not in text:
            return text
    return json.dumps(text).replace(",", "\\u002c")


@contextmanager
def running_servers(settings: Settings) -> Iterator[Servers]:
    """Redis and PostgreSQL: those configured, those another process of ours runs on the same data, or embedded ones.

    While embedded servers run, their addresses stand in ``servers.json`` in the data folder, for other commands.
    """
    data_folder = settings.feature_service_data_path
    shared = _servers_of_another_process(data_folder)
    with ExitStack() as stack:
        redis_host, redis_port = settings.redis_host, settings.redis_port
        embedded_pids: list[int] = []
        if redis_host is None and shared is not None:
            redis_host, redis_port = shared.redis_host, shared.redis_port
        elif redis_host is None:
            from runtime.embedded import embedded_redis

            address = stack.enter_context(embedded_redis(data_folder / "redis"))
            redis_host, redis_port = address.host, address.port
            embedded_pids.append(address.pid)
        if settings.postgres_host is not None:
            postgres_url = _postgres_url(settings)
        elif shared is not None:
            postgres_url = shared.postgres_url
        else:
            from runtime.embedded import embedded_postgres, postgres_pid

            postgres_url = stack.enter_context(embedded_postgres(data_folder / "postgres"))
            embedded_pids.append(postgres_pid(data_folder / "postgres"))
        password, ca_file = settings.redis_password, settings.redis_tls_ca_file
        servers = Servers(
            redis_host,
            redis_port,
            settings.redis_db if settings.redis_host is not None else 0,
            password.get_secret_value() if password is not None and settings.redis_host is not None else None,
            postgres_url,
            redis_tls=settings.redis_tls and settings.redis_host is not None,
            redis_tls_ca_file=None if ca_file is None or settings.redis_host is None else str(ca_file.resolve()),
            redis_type=settings.redis_type if settings.redis_host is not None else "redis",
            redis_sentinel_master=settings.redis_sentinel_master,
            embedded_pids=tuple(embedded_pids) if shared is None else shared.embedded_pids,
        )
        if embedded_pids:
            stack.enter_context(_announced(data_folder, servers))
        yield servers


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
    # It holds the passwords of configured servers: nobody else may read it, not even for a moment.
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with changing_files(path):
        staged.unlink(missing_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123  # a path has no way to say who may read
            file.write(json.dumps({"pid": os.getpid(), **asdict(servers)}))
        staged.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _servers_of_another_process(data_folder: Path) -> Servers | None:
    path = data_folder / "servers.json"
    try:
        announced: dict[str, Any] = json.loads(path.read_text())
        pid = int(announced.pop("pid"))
        servers = msgspec.convert(announced, Servers)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, msgspec.ValidationError) as error:
        raise CorruptStore(
            f"{path}: must be what a running feature-service announced, was not: remove it if none runs"
        ) from error
    with suppress(ProcessLookupError, PermissionError, OverflowError):
        os.kill(pid, 0)
        return servers
    return None


def require_servers_of_another_process(settings: Settings) -> None:
    """Raises StoreUnavailable when nothing is configured or running that could hold online rows."""
    if settings.redis_host is None and _servers_of_another_process(settings.feature_service_data_path) is None:
        raise StoreUnavailable(
            "online store: must be configured by REDIS_HOST or kept by a running feature-service, was neither"
        )
