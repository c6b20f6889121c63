"""What the compose file tells a process: every variable is a setting, every folder a volume, every secret required."""

from __future__ import annotations

import re

import pytest

from runtime.role import STOP_DEADLINE_S
from runtime.settings import load_settings
from tests.deployed import DOCKERFILE, OURS, ROLES, ROOT, SECRETS, SERVICES, SETTINGS, volumes

FOR_COMPOSE_ALONE = {"INGEST_SOURCE", "FEATURE_SERVICE_PUBLISH", "GRAFANA_ADMIN_PASSWORD"}


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
    named = {f"{environment['FEATURE_SERVICE_DATA_PATH']}/{name}" for name in ("client", "historical", "tables")}
    assert folders | named == mounted
    # A named volume takes the owner of the folder it covers, which must exist in the image for that.
    assert all(folder in DOCKERFILE for folder in mounted)


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


def test_redis_asks_for_a_password_that_the_roles_and_its_health_check_know() -> None:
    redis, expected = SERVICES["redis"], "${REDIS_PASSWORD:?must be set in .env}"
    assert redis["command"][redis["command"].index("--requirepass") + 1] == expected
    assert redis["environment"]["REDISCLI_AUTH"] == expected
    assert all(SERVICES[role]["environment"]["REDIS_PASSWORD"] == expected for role in OURS)
