"""``python -m examples.model_service``: the service on a port, configured by options and two secrets' variables."""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from pathlib import Path

import uvicorn

from examples.model_service.service import Config, create_app


def main() -> None:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser(prog="model_service", description=__doc__)
    parser.add_argument("--repo", type=Path, default=Path("data/client"), help="folder that Feature Service writes")
    parser.add_argument("--models", type=Path, default=Path("models"), help="where artifacts are kept")
    parser.add_argument("--service-url", default="http://127.0.0.1:4900", help="where datasets come from")
    parser.add_argument("--max-age", type=float, default=3.0, help="seconds that a vector may be old")
    parser.add_argument("--train-on-ready", action="store_true", help="train on each dataset that is announced")
    parser.add_argument("--port", type=int, default=4600)
    given = parser.parse_args()
    config = Config(
        repo_path=given.repo,
        models=given.models,
        service_url=given.service_url,
        api_key=os.environ.get("FEATURE_SERVICE_API_KEY"),
        broker_url=os.environ.get("MODEL_SERVICE_BROKER_URL"),
        max_age=timedelta(seconds=given.max_age),
        trains_on_ready=given.train_on_ready,
    )
    uvicorn.run(create_app(config), host="127.0.0.1", port=given.port)


if __name__ == "__main__":
    main()
