"""The API under uvicorn as anybody starts it: by the name of its factory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from market.errors import InvalidSettings
from runtime.asgi import create_app
from tests import waiting
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
KEY = "k-asgi"
UVICORN = [sys.executable, "-m", "uvicorn", "runtime.asgi:create_app", "--factory"]
eventually = partial(waiting.eventually, deadline_s=240.0, pause_s=0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: root's PostgreSQL must be able to pass through to its cluster."""
    with tempfile.TemporaryDirectory(prefix="fs-") as name:
        yield Path(name)


def environment(folder: Path) -> dict[str, str]:
    folders = {"FEATURE_SERVICE_DATA_PATH": "", "RAW_DATA_STORAGE_PATH": "raw", "FEATURE_LOG_STORAGE_PATH": "features"}
    placed = {name: str(folder / part) for name, part in {**folders, "DATASET_STORAGE_PATH": "datasets"}.items()}
    none = dict.fromkeys(("REDIS_HOST", "POSTGRES_HOST", "RABBITMQ_HOST"), "")
    # Importing Feast, as tests of this process do, sets a variable that a started service must not find.
    around = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    return {**around, **placed, **none, "FEATURE_SERVICE_API_KEY": KEY}


def test_uvicorn_serves_the_api_by_its_factory_and_ends_cleanly(folder: Path) -> None:
    port, log = free_port(), folder / "log"
    command = [*UVICORN, "--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "5"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdout=file, stderr=subprocess.STDOUT)
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.TransportError:
                return False

        eventually(answers)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert client.get("/features/list").status_code == 401
            listed = client.get("/features/list", headers={"X-API-Key": KEY})
            assert listed.status_code == 200
            assert {"mid_price", "spread_abs"} <= {each["name"] for each in listed.json()}
        embedded = json.loads((folder / "servers.json").read_text())["embedded_pids"]
        process.send_signal(signal.SIGTERM)
        # What uvicorn does once it has shut down: it lets the signal have its way.
        assert process.wait(60) in {0, -signal.SIGTERM}, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
    assert not (folder / "servers.json").exists()
    assert len(embedded) == 2
    assert not [pid for pid in embedded if Path(f"/proc/{pid}").exists()]


def test_it_is_not_started_without_a_key_as_everybody_may_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_SERVICE_API_KEY", "")
    with pytest.raises(InvalidSettings, match=r"FEATURE_SERVICE_API_KEY: must be set .*, was not set"):
        create_app()
