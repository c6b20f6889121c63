"""What the benchmark of the console looks at: a running service with a day of history and fifty live symbols."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from benchmarks.measure import KERNEL_CACHE
from benchmarks.offline import VERSION, whole_catalogue
from benchmarks.tape import SYMBOL
from market.clock import HOUR_NS, SECOND_NS, SystemClock, floor_to, format_iso, parse_iso_ns
from runtime.servers import Servers
from runtime.wiring import online_store
from storage.online.vector import OnlineRow
from tests.ports import free_port

HOURS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_CONSOLE_HOURS", "24"))
"""Of the day that is looked at, of a symbol at five hundred level updates a second."""
LIVE: Final = "ETHUSDT"
"""Has a worker of its own, whose tape and checkpoint the symbol's page reads; rows of the others are written here."""
WRITTEN: Final = (SYMBOL, *(f"S{at:02}USDT" for at in range(48)))
BEGIN_NS: Final = parse_iso_ns("2026-01-05")
_ROOT: Final = Path(__file__).resolve().parent.parent
_START_S: Final = 240


@dataclass(frozen=True, slots=True)
class Process:
    """Where a process of the service answers, and its number."""

    url: str
    process_id: int


def built_dataset(client: httpx.Client) -> str:
    """Of two hours of the day, half an hour in."""
    begin, end = (format_iso(BEGIN_NS + HOURS * HOUR_NS // 4 + at * HOUR_NS) for at in (0, 2))
    started = client.post("/dataset/build", params={"symbol": SYMBOL, "from": begin, "to": end})
    assert started.status_code in {200, 202}, started.text
    dataset_id = str(started.json()["dataset_id"])
    until(lambda: client.get(f"/dataset/{dataset_id}").json()["status"] != "building")
    found = client.get(f"/dataset/{dataset_id}").json()
    assert found["status"] == "ready", found["error_message"]
    return dataset_id


@contextmanager
def written_rows(servers: Servers) -> Iterator[None]:
    """A row of each symbol that has no worker, every second; the mid price of the last counts the seconds."""
    chosen, ended = whole_catalogue(), threading.Event()
    values = np.random.default_rng(0).normal(size=len(chosen.columns))
    status, mid = np.zeros(len(chosen.groups), np.int8), chosen.columns.index("mid_price")

    def write() -> None:
        with closing(online_store(servers)) as store:
            clock, first_ns = SystemClock(), floor_to(SystemClock().now_ns(), SECOND_NS)
            while not ended.wait(1.02 - clock.now_ns() % SECOND_NS / SECOND_NS):
                now_ns = clock.now_ns()
                row_ns = floor_to(now_ns, SECOND_NS)
                values[mid] = 1000 + (row_ns - first_ns) // SECOND_NS
                rows = [OnlineRow(name, chosen, row_ns, now_ns, values.copy(), status, {}) for name in WRITTEN]
                store.write(rows, now_ns=now_ns)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield
    finally:
        ended.set()
        writing.join()


@contextmanager
def running(data: Path, roles: str, symbols: tuple[str, ...]) -> Iterator[Process]:
    """``feature-service run`` with some roles as a process of its own, once it is ready."""
    port, metrics = free_port(), free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "FEATURE_SERVICE_PORT": str(port),
        "FEATURE_SERVICE_METRICS_PORT": str(metrics),
        "FEATURE_SERVICE_CACHE_PATH": str(KERNEL_CACHE.parent),
        "FEATURE_SERVICE_SYMBOLS": ",".join(symbols),
        "FEATURE_SERVICE_RETENTION_DAYS": "36500",  # the day is an old one
        **dict.fromkeys(("REDIS_HOST", "POSTGRES_HOST", "RABBITMQ_HOST", "FEATURE_SERVICE_API_KEY"), ""),
    }
    command = ["-c", "from runtime.cli import main; main()", "run", "--roles", roles, "--registry", VERSION]
    process = subprocess.Popen(
        [sys.executable, *command, "--data", str(data)],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port if 'api' in roles else metrics}"
        until(partial(_is_ready, url, process))
        yield Process(url, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "it ended"
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _START_S
    while not is_so():
        assert time.monotonic() < deadline_s, "the service must be ready by now"
        time.sleep(0.1)
