"""The compose file: its parts, images, health checks and ports, and nothing that compose would not know."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.deployed import COMPOSE, OURS, PINNED, RAY, ROLES, ROOT, SECRETS, SERVICES, WHOLE, volumes

SERVICE_KEYS = {
    *("image", "build", "init", "restart", "stop_grace_period", "cap_drop", "security_opt", "logging", "env_file"),
    *("environment", "volumes", "depends_on", "command", "healthcheck", "mem_limit", "ports", "hostname", "shm_size"),
    *("profiles", "cap_add", "entrypoint"),
}


def test_the_compose_file_has_no_version_and_every_part() -> None:
    assert "version" not in COMPOSE
    assert set(SERVICES) == {*OURS, "redis", "postgres", "rabbitmq", "objects", "prometheus", "grafana"}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    scale = {name: ["scale"] for name in (*RAY, "objects")}
    assert profiles == {"prometheus": ["monitoring"], "grafana": ["monitoring"], WHOLE: ["single"], **scale}


def test_every_volume_is_declared_and_mounted_and_every_file_exists() -> None:
    sources = {source for service in SERVICES.values() for source, _ in volumes(service)}
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])
    assert all((ROOT / source).exists() for source in sources if source.startswith("."))


def test_every_key_of_a_service_is_one_that_compose_knows() -> None:
    """What the client would refuse; a misspelt key of an extension would be skipped in silence."""
    assert set(COMPOSE) == {
        "name",
        "services",
        "volumes",
        *(f"x-{part}" for part in ("role", "ray", "server", "health-on-metrics-port")),
    }
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= {"test", "interval", "timeout", "start_period", "retries"}, name
        assert service["logging"] == SERVICES["redis"]["logging"], name
        for source, _ in volumes(service):
            assert source.startswith("./") or re.fullmatch(r"[a-z]+", source), name
        for bound in ("mem_limit", "shm_size"):
            assert re.fullmatch(r"\d+[mg]", service.get(bound, "1m")), name


def test_every_health_check_is_a_list_that_begins_with_how_it_is_run_and_has_its_times() -> None:
    for name, service in SERVICES.items():
        if name in {"api", WHOLE}:
            continue
        check = service["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}, name
        assert len(check["test"]) == 2 or check["test"][0] == "CMD", name
        seconds = {key: check[key] for key in ("interval", "timeout", "start_period") if key in check}
        assert seconds.keys() >= {"interval", "timeout"}, name
        assert all(re.fullmatch(r"\d+s", value) for value in seconds.values()), name
        assert 1 <= check["retries"] <= 20, name


def test_every_image_is_pinned_and_every_service_has_a_bound_and_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":(v?\d+\.\d+|RELEASE\.20\d\d-)", service["image"]), name
        assert "build" in service or PINNED.fullmatch(service["image"]), name
        assert "mem_limit" in service, name
        assert "healthcheck" in service or name in {"api", WHOLE}, name  # the image brings the API's
        assert service["restart"] == "unless-stopped"
        for dependency, rule in service.get("depends_on", {}).items():
            assert dependency in SERVICES
            assert rule["condition"] == ("service_started" if name == "prometheus" else "service_healthy")
    servers = {"redis", "postgres", "rabbitmq"}
    assert all(set(SERVICES[role]["depends_on"]) == servers for role in (*ROLES, WHOLE))
    assert [set(SERVICES[node]["depends_on"]) for node in RAY] == [{*servers, "ray-head"}, set(), {"ray-head"}]


def test_nothing_but_the_loopback_address_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith(("127.0.0.1:", "${FEATURE_SERVICE_PUBLISH:-127.0.0.1:")) for port in published)


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_keeps_a_capability_that_it_does_not_need_and_none_has_a_default_password(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # What an entry point needs that begins as root and becomes the server's account.
    assert set(service.get("cap_add", ())) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    told = [*service.get("environment", {}).items(), *((word, word) for word in service.get("command", ()))]
    for variable, value in [each for each in told if "PASS" in each[0]]:
        # A profile that nobody asked for may not stop the others for a variable: its server refuses an empty one.
        assert ":?" in value or value == variable or _is_refused_empty(service, variable), name


def _is_refused_empty(service: dict[str, Any], variable: str) -> bool:
    return any(word.startswith(f'test -n "$${variable}" && ') for word in service["command"])


def test_redis_keeps_its_data_within_a_limit_and_rabbitmq_has_the_consistent_hash_exchange() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory 512mb" in command
    assert "--maxmemory-policy noeviction" in command
    plugins = (ROOT / "deploy" / "rabbitmq" / "enabled_plugins").read_text()
    assert re.fullmatch(r"\[[a-z_,]+\]\.\n", plugins)
    assert "rabbitmq_consistent_hash_exchange" in plugins


def test_compose_itself_accepts_the_file() -> None:
    """Skipped without the client even where every server must be there: it is no part of the service."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ}
    docker = shutil.which("docker")

    def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
        assert docker is not None
        return subprocess.run(
            [docker, "compose", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**kept, **SECRETS},
        )

    if docker is None or compose("version").returncode != 0:
        pytest.skip("docker compose is not there")
    checked = compose("--file", str(ROOT / "docker-compose.yml"), "--profile", "*", "config", "--format", "json")
    assert checked.returncode == 0, checked.stderr
    assert set(json.loads(checked.stdout)["services"]) == set(SERVICES)
