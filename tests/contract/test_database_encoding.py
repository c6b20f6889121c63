"""A database that names no encoding, as ``initdb`` makes it where no locale is set."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url

from feature_repo.store import closing_registry, open_store, sql_registry
from runtime.servers import running_servers
from runtime.settings import Settings
from storage.database.job_queue import JobQueue
from storage.database.migration import upgrade
from tests.postgres_servers import new_database, running_postgres


def test_texts_of_an_sql_ascii_database_are_read_as_texts(tmp_path: Path) -> None:
    ascii_only = "ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'"
    with running_postgres("server") as server, new_database(server, options=ascii_only) as url:
        at = make_url(url)
        settings = Settings.model_validate(
            {
                "FEATURE_SERVICE_DATA_PATH": str(tmp_path),
                "REDIS_HOST": "127.0.0.1",
                "POSTGRES_HOST": at.host,
                "POSTGRES_PORT": at.port,
                "POSTGRES_USER": at.username,
                "POSTGRES_DB": at.database,
            }
        )
        with running_servers(settings) as servers:
            upgrade(servers.postgres_url)
            queue = JobQueue(servers.postgres_url)
            queue.defer_once("build", queue="ünïcode", waiting_as="build", arguments={})
            assert [job.task for job in queue.unfinished()] == ["build"]
            registry = sql_registry(postgres_url=servers.postgres_url, engine_options={})
            with closing_registry(open_store(registry=registry, online_store=servers.online_store)) as store:
                assert store.list_entities() == []
