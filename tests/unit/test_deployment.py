"""What is deployed: every name in the compose file, the Dockerfile and the monitoring means something here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.role import STOP_DEADLINE_S
from runtime.settings import Settings, load_settings
from tests.images import copied_to_build

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
ROLES = ("ingest", "api", "jobs")
WHOLE = "feature-service"
OURS = (*ROLES, WHOLE)
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SETTINGS = {field.upper() for field in Settings.model_fields}
FOR_COMPOSE_ALONE = {"INGEST_SOURCE", "FEATURE_SERVICE_PUBLISH", "GRAFANA_ADMIN_PASSWORD"}
SERVICE_KEYS = {
    *("image", "build", "init", "restart", "stop_grace_period", "cap_drop", "security_opt", "logging", "env_file"),
    *("environment", "volumes", "depends_on", "command", "healthcheck", "mem_limit", "ports", "hostname", "shm_size"),
    "profiles",
    "cap_add",
}
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


def test_the_compose_file_has_no_version_and_every_part() -> None:
    assert "version" not in COMPOSE
    assert set(SERVICES) == {*OURS, "redis", "postgres", "rabbitmq", "prometheus", "grafana"}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"prometheus": ["monitoring"], "grafana": ["monitoring"], WHOLE: ["single"]}


def test_one_container_runs_every_role_and_any_command_of_the_tests() -> None:
    """``docker compose up -d feature-service``, and ``docker compose run --rm feature-service pytest tests/ -v``."""
    whole = SERVICES[WHOLE]
    assert whole["command"][:2] == ["feature-service", "run"]
    assert "--roles" not in whole["command"]
    assert whole["ports"] == SERVICES["api"]["ports"]
    assert whole["build"] == {**SERVICES["api"]["build"], "target": "test"}
    assert whole["image"] != SERVICES["api"]["image"]
    assert "entrypoint" not in whole
    stage = re.split(r"\nFROM service( AS test)?\n", DOCKERFILE)[2]
    # Of the service's own entry point it would be `feature-service pytest`.
    assert "\nENTRYPOINT []\n" in stage
    assert re.search(r"pip .* install .*--require-hashes -r requirements.txt", stage)
    assert "\nCOPY --chown=feature-service:feature-service . .\n" in stage
    assert stage.rindex("\nUSER feature-service\n") > stage.rindex("\nRUN ")


@pytest.mark.parametrize("role", OURS)
def test_every_variable_of_a_role_is_a_setting(role: str) -> None:
    environment = SERVICES[role]["environment"]
    assert set(environment) <= SETTINGS
    # Addresses and folders as .env has them would be those of the machine outside.
    addresses = {f"{server}_{part}" for server in ("POSTGRES", "RABBITMQ", "REDIS") for part in ("HOST", "PORT")}
    assert set(environment) >= {name for name in SETTINGS if name.endswith("_STORAGE_PATH")} | addresses
    assert all(isinstance(value, str) for value in environment.values())


def test_every_variable_that_compose_fills_in_is_a_setting_or_named_in_env_example() -> None:
    filled = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert filled - SETTINGS == FOR_COMPOSE_ALONE
    example = (ROOT / "env.example").read_text()
    assert all(name in example for name in FOR_COMPOSE_ALONE)
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert required == set(SECRETS)


@pytest.mark.parametrize("role", OURS)
def test_every_folder_a_role_writes_is_a_volume(role: str) -> None:
    environment = SERVICES[role]["environment"]
    folders = {environment[name] for name in environment if name.endswith(("_STORAGE_PATH", "_CACHE_PATH", "_DIR"))}
    mounted = {target for _, target in volumes(SERVICES[role])}
    assert folders | {f"{environment['FEATURE_SERVICE_DATA_PATH']}/client"} == mounted
    # A named volume takes the owner of the folder it covers, which must exist in the image for that.
    assert all(folder in DOCKERFILE for folder in mounted)


def test_every_volume_is_declared_and_mounted_and_every_file_exists() -> None:
    sources = {source for service in SERVICES.values() for source, _ in volumes(service)}
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])
    assert all((ROOT / source).exists() for source in sources if source.startswith("."))


def test_every_key_of_a_service_is_one_that_compose_knows() -> None:
    """What the client would refuse; a misspelt key of an extension would be skipped in silence."""
    assert set(COMPOSE) == {"name", "x-role", "x-server", "x-health-on-metrics-port", "services", "volumes"}
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


def test_no_variable_of_a_server_is_misspelt() -> None:
    known = {
        "redis": {"REDISCLI_AUTH"},
        "postgres": {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"},
        "rabbitmq": {"RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS"},
        "grafana": {
            *("GF_SECURITY_ADMIN_PASSWORD", "GF_ANALYTICS_REPORTING_ENABLED", "GF_ANALYTICS_CHECK_FOR_UPDATES"),
            *("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"),
        },
    }
    assert {name for name in SERVICES if "environment" in SERVICES[name]} == {*OURS, *known}
    for name, names in known.items():
        assert set(SERVICES[name]["environment"]) == names
    # A server is given the name and the password that the roles use.
    roles = SERVICES["ingest"]["environment"]
    database = {name: roles[name] for name in ("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")}
    assert SERVICES["postgres"]["environment"] == database
    assert SERVICES["grafana"]["environment"].items() >= database.items()
    assert list(SERVICES["rabbitmq"]["environment"].values()) == [roles["RABBITMQ_USER"], roles["RABBITMQ_PASSWORD"]]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_runs_a_command_line_that_there_is_and_its_values_pass_the_settings(role: str) -> None:
    command = [re.sub(r"\$\{[A-Z_]+:-([a-z]+)\}", r"\1", word) for word in SERVICES[role]["command"]]
    assert command[:3] == ["run", "--roles", role]
    assert command[3:] in ([], ["--source", "bybit"])
    filled = {
        name: re.sub(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}", _filled, value)
        for name, value in SERVICES[role]["environment"].items()
    }
    settings = load_settings({name: value or None for name, value in filled.items()}, env_file=None)
    assert settings.postgres_host in SERVICES
    assert settings.redis_host in SERVICES
    assert settings.rabbitmq_host in SERVICES
    stop_s = int(SERVICES[role]["stop_grace_period"].removesuffix("s"))
    assert stop_s > STOP_DEADLINE_S


def _filled(found: re.Match[str]) -> str:
    """What compose puts in for a variable: one that is required, or its default."""
    name, kind, text = found.groups()
    return SECRETS[name] if kind == "?" else text


def test_every_image_is_pinned_and_every_service_has_a_bound_and_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.?\d*", service["image"]), name
        assert "build" in service or PINNED.fullmatch(service["image"]), name
        assert "mem_limit" in service, name
        assert "healthcheck" in service or name in {"api", WHOLE}, name  # the image brings the API's
        assert service["restart"] == "unless-stopped"
        for dependency, rule in service.get("depends_on", {}).items():
            assert dependency in SERVICES
            assert rule["condition"] == ("service_started" if name == "prometheus" else "service_healthy")
    assert all(set(SERVICES[role]["depends_on"]) == {"redis", "postgres", "rabbitmq"} for role in OURS)


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
    for _, value in [each for each in told if "PASS" in each[0]]:
        assert ":?" in value


def test_redis_asks_for_a_password_that_the_roles_and_its_health_check_know() -> None:
    redis, expected = SERVICES["redis"], "${REDIS_PASSWORD:?must be set in .env}"
    assert redis["command"][redis["command"].index("--requirepass") + 1] == expected
    assert redis["environment"]["REDISCLI_AUTH"] == expected
    assert all(SERVICES[role]["environment"]["REDIS_PASSWORD"] == expected for role in OURS)


def test_redis_keeps_its_data_within_a_limit_and_rabbitmq_has_the_consistent_hash_exchange() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory 512mb" in command
    assert "--maxmemory-policy noeviction" in command
    plugins = (ROOT / "deploy" / "rabbitmq" / "enabled_plugins").read_text()
    assert re.fullmatch(r"\[[a-z_,]+\]\.\n", plugins)
    assert "rabbitmq_consistent_hash_exchange" in plugins


def test_the_image_is_built_in_stages_runs_as_nobody_special_and_checks_its_health() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)
    python = stages[0][0]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", python.partition("@")[0])
    assert PINNED.fullmatch(python)
    # The last is the service again, so that who names no stage does not get the tests.
    assert stages == [(python, "build"), (python, "service"), ("service", "test"), ("service", "")]
    assert DOCKERFILE.endswith("\nFROM service\n")
    service = DOCKERFILE.partition(" AS service\n")[2].partition("\nFROM ")[0]
    assert "\nUSER feature-service\n" in service
    assert "/health" in service.partition("HEALTHCHECK")[2]
    named = set(re.findall(r"\b(?:FEATURE|RAW|DATASET)_[A-Z_]+(?==)", service))
    assert named
    assert named <= SETTINGS


def kept_of_the_checkout() -> set[str]:
    """What the build is given: the ignore file takes everything away and then lists what stays."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line for line in lines if line[0] not in "#!"] == ["*", "**/__pycache__"]
    return {line[1:] for line in lines if line.startswith("!")}


def test_the_wheel_is_built_of_what_the_build_is_given() -> None:
    """Every file that pyproject.toml names is copied, or the wheel is not built."""
    copied = copied_to_build(DOCKERFILE)
    assert copied <= {"pyproject.toml", "LICENSE", "deploy", *PACKAGES}
    named = PROJECT["tool"]["setuptools"]["data-files"].values()
    wanted = {"pyproject.toml", *PROJECT["project"]["license-files"], *(path for paths in named for path in paths)}
    assert {Path(path).parts[0] for path in wanted} | set(PACKAGES) == copied
    assert copied <= kept_of_the_checkout()


def test_the_stage_with_the_tests_is_given_the_whole_checkout() -> None:
    kept = kept_of_the_checkout()
    assert all((ROOT / name).exists() for name in kept)
    written = {"data", "build", "dist", "htmlcov"}
    present = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.name not in written}
    assert {name for name in present if not name.endswith(".egg-info")} <= kept


def test_what_prometheus_reads_are_services_at_the_ports_they_serve() -> None:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    environment = SERVICES["ingest"]["environment"]
    assert set(jobs) == {*ROLES, "rabbitmq"}
    for role in ROLES:
        [found] = jobs[role]["dns_sd_configs"]
        port = environment["FEATURE_SERVICE_PORT" if role == "api" else "FEATURE_SERVICE_METRICS_PORT"]
        assert (found["names"], str(found["port"])) == ([role], port)
    assert document["rule_files"] == ["alerts.yml"]


def test_every_panel_of_every_dashboard_reads_a_provisioned_source() -> None:
    folder = ROOT / "deploy" / "grafana"
    sources = {
        (source["type"], source["uid"]): source
        for path in (folder / "provisioning" / "datasources").glob("*.yml")
        for source in yaml.safe_load(path.read_text())["datasources"]
    }
    assert {source["url"] for source in sources.values()} == {"http://prometheus:9090", "postgres:5432"}
    [provider] = yaml.safe_load((folder / "provisioning" / "dashboards" / "feature-service.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] in {target for _, target in volumes(SERVICES["grafana"])}
    dashboards = [json.loads(path.read_text()) for path in (folder / "dashboards").glob("*.json")]
    assert len({each["uid"] for each in dashboards}) == len(dashboards) == 6
    for dashboard in dashboards:
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
        assert {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in panels} <= set(sources)
        assert all(target.get("expr") or target.get("rawSql") for panel in panels for target in panel["targets"])


def test_compose_itself_accepts_the_file() -> None:
    """Skipped without the client even where every server must be there: it is no part of the service."""
    docker = shutil.which("docker")
    has_compose = (
        docker is not None
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False, timeout=60).returncode == 0
    )
    if docker is None or not has_compose:
        pytest.skip("docker compose is not there")
    checked = subprocess.run(
        [
            docker,
            "compose",
            "--file",
            str(ROOT / "docker-compose.yml"),
            "--profile",
            "*",
            "config",
            "--format",
            "json",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **SECRETS},
    )
    assert checked.returncode == 0, checked.stderr
    assert set(json.loads(checked.stdout)["services"]) == set(SERVICES)
