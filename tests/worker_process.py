"""A live worker in a process of its own, for a test to kill.

Run as a program it is such a worker.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ingestion.worker.worker import STOP_DEADLINE_S
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.sources import SourceChoice
from tests.live import VERSION

ROOT = Path(__file__).parents[1]


def start_process(
    settings: Settings, servers: Servers, *, largest_file: int | None = None, stop_deadline_s: float = STOP_DEADLINE_S
) -> subprocess.Popen[bytes]:
    """A worker in a process of its own."""
    task = {
        "settings": {
            "FEATURE_SERVICE_DATA_PATH": str(settings.feature_service_data_path),
            "FEATURE_SERVICE_CACHE_PATH": str(settings.feature_service_cache_path),
            "FEATURE_SERVICE_SYMBOLS": ",".join(settings.feature_service_symbols),
            "RABBITMQ_HOST": settings.rabbitmq_host,
            "RABBITMQ_PORT": str(settings.rabbitmq_port),
            "FEATURE_SERVICE_TAPE_SYNC_MS": "20",
            "BYBIT_REST_URL": settings.bybit_rest_url,
            "FEATURE_SERVICE_SHARDS": None
            if settings.feature_service_shards is None
            else str(settings.feature_service_shards),
        },
        "servers": asdict(servers),
        "largest_file": largest_file,
        "stop_deadline_s": stop_deadline_s,
    }
    # Feast's import sets this variable; with it, or imported after Feast, prometheus_client wants a folder for figures.
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    program = f"import prometheus_client, runpy; runpy.run_path({str(Path(__file__))!r}, run_name='__main__')"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode())
    process.stdin.close()
    return process


def main() -> None:
    import signal

    from ingestion.worker import worker
    from runtime.ingest_role import IngestRole
    from runtime.settings import load_settings

    task = json.load(sys.stdin)
    role = IngestRole(
        load_settings(task["settings"], env_file=None),
        Servers(**task["servers"]),
        SourceChoice("gateway"),
        version=VERSION,
    )
    vars(worker)["STOP_DEADLINE_S"] = task["stop_deadline_s"]
    if task["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["largest_file"], task["largest_file"]))
    signal.signal(signal.SIGTERM, lambda *_: role.stop())
    try:
        role.run()
    except Exception as error:  # noqa: BLE001  # the top of a process
        os.write(2, f"worker failed: {error}\n".encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
