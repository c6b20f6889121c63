"""Feast's own feature server on the stores of a running feature-service: a yardstick in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from runtime.feature_repository import feature_store
from runtime.servers import running_servers
from runtime.settings import load_settings


def main() -> None:
    from feast.feature_server import start_server

    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    settings = load_settings({"FEATURE_SERVICE_DATA_PATH": str(folder)}, env_file=None)
    with running_servers(settings) as servers:
        start_server(
            feature_store(servers),
            "127.0.0.1",
            port,
            no_access_log=True,
            workers=1,
            worker_connections=1000,
            max_requests=0,
            max_requests_jitter=0,
            keep_alive_timeout=30,
            registry_ttl_sec=3600,
            tls_key_path="",
            tls_cert_path="",
            metrics=False,
        )


if __name__ == "__main__":
    main()
