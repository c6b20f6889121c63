"""Embedded servers: they start, serve, stop with their process however it ends, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis

from market.errors import StoreUnavailable
from runtime import embedded
from runtime.embedded import RedisAddress, embedded_postgres, embedded_redis
from runtime.ports import free_port
from tests import waiting

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)

STARTER = """
import signal, sys
from pathlib import Path
import psycopg, redis
from runtime.embedded import embedded_postgres, embedded_redis
folder = Path(sys.argv[1])
with embedded_redis(folder / "redis") as address, embedded_postgres(folder / "postgres") as url:
    try:
        print("ready", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        redis.Redis(address.host, address.port).ping()
        psycopg.connect(url.replace("+psycopg", "")).close()
        print("still serving", flush=True)
print("closed", flush=True)
"""


def processes_in(folder: Path) -> list[int]:
    """Processes whose working directory lies in ``folder``: every server process moves into its own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            working_directory = (entry / "cwd").readlink()
        except OSError:
            continue  # ended meanwhile, or another user's
        if working_directory.is_relative_to(folder):
            found.append(int(entry.name))
    return found


def redis_client(address: RedisAddress) -> redis.Redis:
    return redis.Redis(address.host, address.port, decode_responses=True)


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: another run of it closes the passage that root's PostgreSQL needs to get to its cluster."""
    with tempfile.TemporaryDirectory(prefix="fs-") as path:
        yield Path(path)


@pytest.fixture
def socket_root() -> Iterator[Path]:
    """Where a starter's sockets go, cleaned even after it was killed."""
    with tempfile.TemporaryDirectory(prefix="fs-") as path:
        yield Path(path)


def start_starter(folder: Path, socket_root: Path) -> subprocess.Popen[str]:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(socket_root)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "ready\n"
    return starter


def test_redis_serves_and_leaves_no_process_behind(folder: Path) -> None:
    with embedded_redis(folder / "redis") as address:
        assert address.host == "127.0.0.1"
        with redis_client(address) as client:
            assert client.set("name", "value")
            assert client.get("name") == "value"
            version = tuple(int(part) for part in client.info("server")["redis_version"].split("."))
            assert version >= (6, 2)
        assert len(processes_in(folder)) == 1
    assert processes_in(folder) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port))


def test_redis_keeps_nothing(folder: Path) -> None:
    with embedded_redis(folder) as address, redis_client(address) as client:
        client.set("name", "value")
    with embedded_redis(folder) as address, redis_client(address) as client:
        assert client.dbsize() == 0
    assert {path.name for path in folder.iterdir()} == {"lock", "port", "redis.log"}


def test_redis_keeps_its_port_but_for_one_that_somebody_has_now(folder: Path) -> None:
    with embedded_redis(folder) as address, redis_client(address) as client:
        client.ping()  # a connection that the server closes keeps its port busy for a while
    with embedded_redis(folder) as again:
        assert again.port == address.port
    with socket.create_server(("127.0.0.1", address.port)), embedded_redis(folder) as moved:
        assert moved.port != address.port


def test_postgres_keeps_its_data_and_leaves_no_process_behind(folder: Path) -> None:
    with embedded_postgres(folder / "postgres") as url:
        with connect(url) as connection:
            assert connection.info.server_version >= 150000
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert processes_in(folder)
    assert processes_in(folder) == []
    with embedded_postgres(folder / "postgres") as url, connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_an_open_connection_does_not_hold_postgres_up(folder: Path) -> None:
    with embedded_postgres(folder) as url:
        connection = connect(url)
    connection.close()
    assert "received fast shutdown request" in (folder / "postgres.log").read_text()
    assert processes_in(folder) == []


def test_two_of_each_do_not_clash(folder: Path) -> None:
    with ExitStack() as stack:
        addresses = [stack.enter_context(embedded_redis(folder / f"redis-{n}")) for n in range(2)]
        urls = [stack.enter_context(embedded_postgres(folder / f"postgres-{n}")) for n in range(2)]
        for n, (address, url) in enumerate(zip(addresses, urls, strict=True)):
            with redis_client(address) as client, connect(url) as connection:
                assert client.set("n", n, nx=True)
                connection.execute(f"CREATE TABLE numbered AS SELECT {n} AS n")
        assert len({address.port for address in addresses}) == 2


def test_a_port_taken_meanwhile_is_tried_again_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
        with embedded_redis(folder) as address, redis_client(address) as client:
            assert client.ping()
            assert address.port != taken.getsockname()[1]


def test_another_server_on_the_port_is_not_taken_for_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded_redis(folder / "first") as first:
        monkeypatch.setattr(embedded, "free_port", lambda: first.port)
        with (
            pytest.raises(
                StoreUnavailable,
                match=r"(?s)embedded Redis: must start, ended with exit code 1; .*Address already in use",
            ),
            embedded_redis(folder / "second"),
        ):
            pytest.fail("it must not start")


def test_a_server_that_does_not_start_shows_its_last_words(folder: Path) -> None:
    with embedded_postgres(folder):
        pass
    (folder / "cluster" / "PG_VERSION").write_text("9.1\n")
    with (
        pytest.raises(StoreUnavailable, match=r"(?s)embedded PostgreSQL: must start, .*initialized by PostgreSQL"),
        embedded_postgres(folder),
    ):
        pytest.fail("it must not start")
    assert processes_in(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a copy made by root belongs to root")
def test_a_copy_that_lost_its_owner_says_so_in_the_words_of_the_server(folder: Path) -> None:
    with embedded_postgres(folder / "first"):
        pass
    shutil.copytree(folder / "first", folder / "copy")
    with (
        pytest.raises(
            StoreUnavailable, match=r"exit code 2; .*Permission denied.*/cluster must belong to account \d+,"
        ),
        embedded_postgres(folder / "copy"),
    ):
        pytest.fail("it must not start")


def test_a_cluster_whose_making_was_cut_short_is_made_anew(folder: Path) -> None:
    unfinished = folder / "cluster.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with embedded_postgres(folder) as url, connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not unfinished.exists()


@pytest.mark.parametrize("start", [embedded_redis, embedded_postgres])
def test_a_folder_serves_one_process_at_a_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[Path], ExitStack]
) -> None:
    monkeypatch.setattr(embedded, "LOCK_DEADLINE_S", 0)
    with (
        start(folder),
        pytest.raises(StoreUnavailable, match="its folder must serve one process at a time"),
        start(folder),
    ):
        pytest.fail("it must not start")


def test_an_error_inside_the_block_stops_the_servers(folder: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        embedded_redis(folder / "redis"),
        embedded_postgres(folder / "postgres"),
    ):
        raise ZeroDivisionError
    assert processes_in(folder) == []


def test_a_killed_process_takes_its_servers_with_it_and_the_next_one_starts(folder: Path, socket_root: Path) -> None:
    starter = start_starter(folder, socket_root)
    assert len(processes_in(folder)) > 1
    starter.kill()
    starter.communicate()
    # At once, without waiting: the folder is taken over when the old server is gone.
    with embedded_postgres(folder / "postgres") as url, connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    eventually(lambda: processes_in(folder) == [])


def test_a_process_that_only_dies_of_sigterm_takes_its_servers_with_it(folder: Path, socket_root: Path) -> None:
    starter = start_starter(folder, socket_root)
    starter.terminate()
    starter.communicate()
    eventually(lambda: processes_in(folder) == [])


def test_ctrl_c_leaves_the_servers_up_until_their_process_closes_them(folder: Path, socket_root: Path) -> None:
    starter = start_starter(folder, socket_root)
    os.killpg(starter.pid, signal.SIGINT)
    output, _ = starter.communicate(timeout=DEADLINE_S)
    assert (starter.returncode, output) == (0, "still serving\nclosed\n")
    assert list(socket_root.iterdir()) == []
    assert processes_in(folder) == []


def test_a_disk_that_takes_no_file_is_named_with_it(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "port").symlink_to("nowhere/port")
    with pytest.raises(StoreUnavailable, match=r"/port: cannot be written: "), embedded_redis(folder):
        pass
