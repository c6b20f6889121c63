"""``latency``: how long each living worker's rows take until Redis holds them, and which step took longest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_line, print_table


def latency(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Stages and the slowest of the last 2,000 row times of each ingest worker, as of its last heartbeat.

    Exits 1 when no worker is alive.
    """
    from market.clock import SystemClock, to_datetime
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store
    from storage.database.ingest_workers import living_workers

    with running_servers(settings_for(data)) as servers, metadata_store(servers) as metadata:
        workers = living_workers(metadata, to_datetime(SystemClock().now_ns()))
    found = {
        worker.worker_id: {name: worker.status.get(name, {}) for name in ("stages", "row_traces")} for worker in workers
    }
    if as_json:
        print_document(found, as_json=True)
    else:
        for worker_id, each in found.items():
            _print_worker(worker_id, each)
    if not found:
        if not as_json:
            print_line("No ingest worker is alive; feature-service run starts one.")
        raise typer.Exit(1)


def _print_worker(worker_id: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    print_table(
        ("stage", "count", "p50 ms", "p95 ms", "p99 ms"),
        [
            (stage, each["count"], *(each[f"p{percent}_ms"] for percent in (50, 95, 99)))
            for stage, each in found["stages"].items()
        ],
        title=f"worker {worker_id}",
    )
    traces = found["row_traces"]
    slowest: Mapping[str, int] = traces.get("slowest", {})
    if not any(slowest.values()):
        print_line("No row was stored yet.")
        return
    step = max(slowest, key=lambda name: slowest[name])
    count = f"{slowest[step]} of the last {traces['count']} row times"
    print_line(f"Slowest step: {step}, of {count}. The slowest of them:")
    print_table(
        ("row", "total ms", "wait ms", "compute ms", "store ms", "slowest"),
        [
            tuple(row[name] for name in ("row_time", "total_ms", "wait_ms", "compute_ms", "store_ms", "slowest"))
            for row in traces["rows"]
        ],
    )
