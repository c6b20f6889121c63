"""Builds of datasets, their watch, and a worker process that a test kills.

Run as a program it is such a worker, with its watch, and prints a line when it begins.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from runtime.building import build_place
from runtime.servers import Servers, running_servers
from runtime.settings import Settings, load_settings
from runtime.stores import open_stores
from runtime.wiring import metadata_store
from storage.database.dataset_records import DatasetRecord
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from tests import waiting
from tests.build_places import books_on
from training_sets.builds.builds import DatasetBuilds
from training_sets.builds.watch import BuildWatch
from training_sets.dataset.manifest import read_manifest
from training_sets.provenance import file_entry
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 4 * MINUTE_NS
HEARTBEAT_S = 0.2
STALLED_AFTER_S = 1.0
WATCH_S = 0.2
DEADLINE_S = 120
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)
ROOT = Path(__file__).parents[1]


def request_of(number: int) -> DatasetRequest:
    """A request that differs from those of other numbers in nothing that matters."""
    return DatasetRequest(
        ("BTCUSDT",),
        TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
        (RegressionTarget(SECOND_NS),),
        "1.0.0",
        embargo_ns=number,
    )


@contextmanager
def opened(settings: Settings, servers: Servers, metadata: Metadata) -> Iterator[tuple[DatasetBuilds, BuildWatch]]:
    """Builds and their watch, with the short times of this test."""
    stores = open_stores(settings)
    books = books_on(metadata, JobQueue(servers.postgres_url, stalled_after_s=STALLED_AFTER_S))
    place = build_place(settings, servers, stores, engine=None)
    builds = DatasetBuilds(books, place, stores.datasets, parallel=2)
    watch = BuildWatch(books, stores.datasets, watch_s=WATCH_S, grace_s=STALLED_AFTER_S)
    yield builds, watch


def work(data: str, cache: str) -> None:
    """What the process does, until it is killed or told to stop."""
    overrides = {"FEATURE_SERVICE_DATA_PATH": data, "FEATURE_SERVICE_CACHE_PATH": cache}
    settings = load_settings(overrides, env_file=None)
    with (
        running_servers(settings) as servers,
        metadata_store(servers) as metadata,
        opened(settings, servers, metadata) as (builds, watch),
    ):
        worker = builds.worker(heartbeat_s=HEARTBEAT_S)

        def stop(*_: object) -> None:
            builds.close()
            worker.stop()
            watch.stop()

        signal.signal(signal.SIGTERM, stop)
        os.write(1, b"begun\n")
        watching = threading.Thread(target=watch.run)
        working = threading.Thread(target=worker.run)
        watching.start()
        working.start()
        working.join()
        watching.join()


def started(settings: Settings) -> subprocess.Popen[bytes]:
    """A worker process that has begun."""
    program = f"import runpy; runpy.run_path({str(Path(__file__))!r}, run_name='__main__')"
    cache = str(settings.feature_service_cache_path)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(settings.feature_service_data_path), cache],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def ended(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> int:
    process.send_signal(with_signal)
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(60)


def check_files(settings: Settings, record: DatasetRecord) -> None:
    """Ready with every file that its manifest states, or failed without any."""
    folder = settings.dataset_storage_path / record.dataset_id
    if record.status == "ready":
        manifest = read_manifest(folder)
        for entry in manifest["files"].values():
            assert file_entry(folder / entry["path"], folder) == entry
        assert record.train_records == manifest["records"]["train"]
    else:
        assert record.status == "failed"
        assert record.error_message
        assert not folder.exists()
    assert not list(folder.parent.glob(f".{record.dataset_id}-*"))


if __name__ == "__main__":
    work(*sys.argv[1:])
