"""The compose file and the Dockerfile as tests read them, and the names that mean something in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from runtime.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
ROLES = ("ingest", "api", "jobs")
WHOLE = "feature-service"
RAY = ("jobs-ray", "ray-head", "ray-worker")
OURS = (*ROLES, WHOLE, *RAY)
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SETTINGS = {field.upper() for field in Settings.model_fields}
PINNED = re.compile(r"[\w/]+:[\w.-]+@sha256:[0-9a-f]{64}")
SECRETS = {
    "FEATURE_SERVICE_API_KEY": "k",
    "POSTGRES_PASSWORD": "p",
    "RABBITMQ_PASSWORD": "r",
    "REDIS_PASSWORD": "s",
    "GRAFANA_ADMIN_PASSWORD": "g",
}


def volumes(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each mount."""
    pairs = [volume.split(":")[:2] for volume in service.get("volumes", ())]
    return [(source, target) for source, target in pairs]
