"""Exchange: one worker with every linear perpetual of a large venue, killed and started again, on a grid of 500 ms."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.live import Load, publish_load
from benchmarks.measure import Figure
from benchmarks.workers import start_process, start_worker
from feature_repo.project import PROJECT
from runtime.embedded import embedded_postgres, embedded_redis
from runtime.servers import Servers
from runtime.wiring import metadata_store
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from tests.broker import Broker
from tests.gateway import QUEUES
from tests.live import NO_EXCHANGE

SYMBOLS: Final = tuple(
    f"S{number:03d}USDT" for number in range(int(os.environ.get("FEATURE_SERVICE_BENCH_EXCHANGE_SYMBOLS", "500")))
)
RATE: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_EXCHANGE_RATE", "2"))
"""Messages a second of each symbol: the load generator shares the cores with what it measures."""
SECONDS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_EXCHANGE_S", "75"))
FIRST_S: Final = 20
"""How long the worker is sent messages that is killed: every symbol has a tape then."""
SERVES_DEADLINE_S: Final = 120.0
TAPE_THREADS: Final = "tape"
"""How the names of the threads begin that write tapes."""


def run(folder: Path) -> Iterator[Figure]:
    broker = Broker()
    try:
        broker.start()
        broker.declare(QUEUES.values())
        with embedded_redis(folder / "redis") as address, embedded_postgres(folder / "postgres") as url:
            servers = Servers(redis_settings(f"{address.host}:{address.port}", db=0), url)
            with metadata_store(servers):
                pass
            yield from _exchange(folder / "data", broker, servers)
    finally:
        broker.remove()


def _exchange(folder: Path, broker: Broker, servers: Servers) -> Iterator[Figure]:
    settings = {
        "FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS),
        "FEATURE_SERVICE_ROW_GRID": "500ms",
        "BYBIT_REST_URL": NO_EXCHANGE,
    }
    store = OnlineStore.connect(servers.online_store, project=PROJECT)
    first = start_worker(folder, broker.port, servers, settings)
    _publish(broker, FIRST_S, "first-")
    first.process.kill()
    first.process.join()
    begun_ns, begun_s = time.time_ns(), time.monotonic()
    second = start_worker(folder, broker.port, servers, settings)
    serves_s = _until_all_serve(store, begun_ns, begun_s)
    started_s = _processor_seconds(second.process.pid)
    _publish(broker, SECONDS, "second-")
    found = second.end()
    store.close()
    details = _details(found)
    yield Figure(
        "exchange: a worker killed and started again, until every symbol has a new row",
        serves_s,
        "s",
        "lower",
        goal="<= 15",
        details={**details, "processor_s": started_s},
    )
    yield Figure("exchange: threads of the worker", max(found["threads"]), "threads", "lower", goal="<= 12")
    yield Figure("exchange: memory of the worker", max(found["memory_mb"]), "MB", "lower", goal="<= 2000")
    yield Figure("exchange: syncs of the tapes a second", median(_tape_syncs(found)), "syncs/s", "lower", goal="<= 10")
    yield Figure("exchange: processor time of a message, rows and all", details["message_us"], "us", "lower")
    for percent, goal in ((50, "<= 60"), (99, "<= 150")):
        value = found["status"]["stages"]["online"][f"p{percent}_ms"]
        name = f"exchange: a row's time until Redis holds every symbol's vector, p{percent}"
        yield Figure(name, value, "ms", "lower", goal=goal)


def _publish(broker: Broker, seconds: int, name: str) -> None:
    publishing = start_process(publish_load, broker.port, seconds, None, Load(SYMBOLS, RATE, name, is_spread=True))
    publishing.join()


def _until_all_serve(store: OnlineStore, begun_ns: int, begun_s: float) -> float:
    pause = threading.Event()
    while time.monotonic() - begun_s < SERVES_DEADLINE_S:
        if all(vector is not None and vector.row_ns > begun_ns for vector in store.read(SYMBOLS)):
            return time.monotonic() - begun_s
        pause.wait(0.1)
    raise TimeoutError(f"exchange: every symbol must serve within {SERVES_DEADLINE_S:g} s, did not")


def _processor_seconds(pid: int) -> float:
    """What a process, all its threads, has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _tape_syncs(found: Mapping[str, Any]) -> Sequence[int]:
    """By second; not the first ones and the last, in which segments begin and end."""
    seconds = found["syncs"][5:-2]
    return [sum(count for name, count in second.items() if name.startswith(TAPE_THREADS)) for second in seconds]


def _details(found: Mapping[str, Any]) -> dict[str, Any]:
    counts = found["status"]["worker"]
    seconds = len(found["memory_mb"])
    return {
        "symbols": len(SYMBOLS),
        "messages": counts["messages_total"],
        "messages_a_second": counts["messages_total"] / seconds,
        "message_us": found["cpu"] * seconds / max(1, counts["messages_total"]) * 1e6,
        "rows_at_seconds": counts["rows_total"],
        "rows_between": counts["tick_rows_total"],
        "skipped_ticks": counts["skipped_ticks_total"],
        "late": sum(each["late"] for each in found["status"]["symbols"].values()),
        "cpu_cores": found["cpu"],
        "memory_begin_mb": found["memory_mb"][len(found["memory_mb"]) // 3],
        "memory_end_mb": found["memory_mb"][-1],
        "syncs_of_all": median(sum(second.values()) for second in found["syncs"]),
        "slowest_rows": found["status"]["row_traces"]["rows"][:3],
        "stages": {stage: each["p50_ms"] for stage, each in found["status"]["stages"].items()},
    }
