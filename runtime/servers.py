"""The servers of a process: those configured, those another process of ours runs on the same data, or embedded ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from market.errors import CorruptStore, StoreUnavailable
from runtime.settings import Settings
from storage.durable_files import changing_files
from storage.online.address import redis_settings


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of this process are: configured ones, or embedded ones that stop with it."""

    online_store: dict[str, str] = field(repr=False)
    """The ``online_store`` part of a feature_store.yaml, which names the Redis."""
    postgres_url: str = field(repr=False)
    embedded_pids: tuple[int, ...] = ()
    """The processes of embedded servers, which end with the one that started them."""


# Made at import: msgspec learns a class at its first use, which ends the process where two threads do it at once.
_LEARNED: Final = msgspec.json.Decoder(Servers)


def configured_redis(settings: Settings) -> dict[str, str]:
    """The Redis of the settings in Feast's words; REDIS_HOST must be set."""
    assert settings.redis_host is not None
    is_one = settings.redis_type == "redis"
    named = [settings.redis_host] if is_one else settings.redis_host.split(",")
    password = settings.redis_password
    return redis_settings(
        *(node if ":" in node and not is_one else f"{node}:{settings.redis_port}" for node in named),
        kind=settings.redis_type,
        sentinel_master=settings.redis_sentinel_master,
        db=None if settings.redis_type == "redis_cluster" else settings.redis_db,
        username=settings.redis_user,
        password=None if password is None else password.get_secret_value(),
        ssl=True if settings.redis_tls else None,
        ssl_ca_certs=None if settings.redis_tls_ca_file is None else str(settings.redis_tls_ca_file.resolve()),
    )


@contextmanager
def running_servers(settings: Settings) -> Iterator[Servers]:
    """Redis and PostgreSQL: those configured, those another process of ours runs on the same data, or embedded ones.

    While embedded servers run, their addresses stand in ``servers.json`` in the data folder, for other commands.
    """
    data_folder = settings.feature_service_data_path
    shared = _servers_of_another_process(data_folder)
    with ExitStack() as stack:
        embedded_pids: list[int] = []
        if settings.redis_host is not None:
            online_store = configured_redis(settings)
        elif shared is not None:
            online_store = shared.online_store
        else:
            from runtime.embedded import embedded_redis

            address = stack.enter_context(embedded_redis(data_folder / "redis"))
            online_store = redis_settings(f"{address.host}:{address.port}", db=0)
            embedded_pids.append(address.pid)
        if settings.postgres_host is not None:
            postgres_url = _postgres_url(settings)
        elif shared is not None:
            postgres_url = shared.postgres_url
        else:
            from runtime.embedded import embedded_postgres, postgres_pid

            postgres_url = stack.enter_context(embedded_postgres(data_folder / "postgres"))
            embedded_pids.append(postgres_pid(data_folder / "postgres"))
        pids = tuple(embedded_pids) if shared is None else shared.embedded_pids
        servers = Servers(online_store, postgres_url, embedded_pids=pids)
        if embedded_pids:
            stack.enter_context(_announced(data_folder, servers))
        yield servers


def _postgres_url(settings: Settings) -> str:
    password = settings.postgres_password
    secret = "" if password is None else f":{quote(password.get_secret_value(), safe='')}"
    return (
        f"postgresql+psycopg://{quote(settings.postgres_user, safe='')}{secret}@"
        f"{settings.postgres_host}:{settings.postgres_port}/{settings.postgres_db}"
        # Said by nobody, the encoding is the database's, and psycopg hands out the texts of an SQL_ASCII one as bytes.
        "?client_encoding=utf8"
    )


@contextmanager
def _announced(data_folder: Path, servers: Servers) -> Iterator[None]:
    path = data_folder / "servers.json"
    # It holds the passwords of configured servers: no other account may read it, not even for a moment.
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
            f"{path}: must be what a running feature-service announced; remove it if none is running"
        ) from error
    with suppress(ProcessLookupError, PermissionError, OverflowError):
        os.kill(pid, 0)
        return servers
    return None


def require_servers_of_another_process(settings: Settings) -> None:
    """Raises StoreUnavailable when nothing is configured or running that could hold online rows."""
    if settings.redis_host is None and _servers_of_another_process(settings.feature_service_data_path) is None:
        raise StoreUnavailable(
            "online store: must be configured by REDIS_HOST or kept by a running feature-service, was neither; "
            "feature-service run starts one, --data names the data folder of one that runs"
        )
