"""``feature-service run`` as a process of its own, with minutes of a simulated market behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS, SystemClock, floor_to, format_iso
from runtime.cli import EXIT_DEADLINE_S
from runtime.commands.options import settings_for
from runtime.role import STOP_DEADLINE_S
from runtime.settings import Settings
from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline
from tests import waiting
from tests.broker import Broker
from tests.ports import free_port

DEADLINE_S = 240.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S, pause_s=0.1)
ROOT = Path(__file__).parents[1]
VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Running:
    """Where the service answers, its data folder, and when its history begins."""

    url: str
    folder: Path
    api_key: str
    start_ns: int

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-API-Key": self.api_key}, timeout=30)

    def asked(self, *, horizon: str) -> dict[str, Any]:
        """A request for a dataset of the played minutes."""

        def at(seconds: int) -> str:
            return format_iso(self.start_ns + seconds * SECOND_NS)

        return {
            "symbol": "BTCUSDT",
            "train_period_start": at(10),
            "train_period_end": at(90),
            "validation_period_start": at(90),
            "validation_period_end": at(120),
            "test_period_start": at(120),
            "test_period_end": at(150),
            "target_config": {"type": "regression", "horizon": horizon},
        }

    def build(self) -> str:
        """A dataset of the played minutes through the API; its id once it is ready."""
        asked = self.asked(horizon="5s")
        with self.client() as client:
            started = client.post("/dataset/build", json=asked)
            assert started.status_code in {200, 202}, started.text  # 200 for one that stands already
            dataset_id = str(started.json()["dataset_id"])
            eventually(lambda: client.get(f"/dataset/{dataset_id}").json()["status"] != "building")
            document = client.get(f"/dataset/{dataset_id}").json()
        assert document["status"] == "ready", document["error_message"]
        return dataset_id


@contextmanager
def running_service(
    kernel_cache: Path, *, minutes: int, api_key: str, broker: Broker | None = None
) -> Iterator[Running]:
    """On servers of its own; it ends with the block, without an error, although a stream is open and a build runs.

    broker: RabbitMQ, if it is to use one.
    """
    with ExitStack() as stack:
        # Not pytest's own folder: root's PostgreSQL must be able to pass through to its cluster.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fs-")))
        port = free_port()
        environment = {
            **os.environ,
            "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
            "FEATURE_SERVICE_API_KEY": api_key,
            "FEATURE_SERVICE_PORT": str(port),
            "RABBITMQ_HOST": "" if broker is None else "127.0.0.1",
            "RABBITMQ_PORT": "" if broker is None else str(broker.port),
            "REDIS_HOST": "",
            "POSTGRES_HOST": "",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FEATURE_SERVICE_CACHE_PATH", str(kernel_cache.parent))
            start_ns = _played(settings_for(folder), minutes)
        log_path = folder / "log"
        log = stack.enter_context(log_path.open("wb"))
        command = [sys.executable, "-c", "from runtime.cli import main; main()", "run", "--registry", VERSION]
        process = subprocess.Popen(
            [*command, "--data", str(folder)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            url = f"http://127.0.0.1:{port}"

            def is_ready() -> bool:
                assert process.poll() is None, log_path.read_text()[-3000:]
                try:
                    return httpx.get(f"{url}/ready").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(is_ready)
            running = Running(url, folder, api_key, start_ns)
            yield running
            with (
                running.client() as client,
                client.stream("GET", "/features/stream", params={"symbol": "BTCUSDT"}) as stream,
            ):
                assert next(stream.iter_lines())
                assert client.post("/dataset/build", json=running.asked(horizon="7s")).status_code == 202
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_DEADLINE_S + EXIT_DEADLINE_S + 20) == 0, log_path.read_text()[-3000:]
        finally:
            process.kill()
            process.wait()


def _played(settings: Settings, minutes: int) -> int:
    """Minutes of the market that end now, on the tape, in raw Parquet and in the feature log; their first time."""
    start_ns = floor_to(SystemClock().now_ns(), SECOND_NS) - minutes * MINUTE_NS
    pipeline = make_pipeline(settings, compiled_kernel(settings, VERSION), availability=available_as_if_live)
    with closing(pipeline):
        play(pipeline, simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=start_ns, duration_ns=minutes * MINUTE_NS))
    compact_tape(settings.raw_folder, DEFAULT_SYMBOLS[0].symbol, instrument_pins(settings))
    return start_ns
