"""What the compose file tells a process: every variable is a setting, every folder a volume, every secret required."""

from __future__ import annotations

import re

import pytest

from runtime.role import STOP_DEADLINE_S
from runtime.settings import Settings, load_settings
from tests.deployed import DOCKERFILE, OURS, RAY, ROLES, ROOT, SECRETS, SERVICES, SETTINGS, volumes

FOR_COMPOSE_ALONE = {
    *("INGEST_SOURCE", "FEATURE_SERVICE_PUBLISH", "GRAFANA_ADMIN_PASSWORD", "STORES"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}
OF_RAY = {"RAY_AUTH_MODE"}
"""Not a setting of ours: its client and nodes read it themselves."""


@pytest.mark.parametrize("role", OURS)
def test_every_variable_of_a_role_is_a_setting(role: str) -> None:
    environment = SERVICES[role]["environment"]
    assert set(environment) - (OF_RAY if role in RAY else set()) <= SETTINGS
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
    folders = {
        _filled_in(environment[name]) for name in environment if name.endswith(("_STORAGE_PATH", "_CACHE_PATH", "_DIR"))
    }
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
        "objects": {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"},
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
    settings = _settings_of(role)
    assert settings.postgres_host in SERVICES
    assert settings.redis_host in SERVICES
    assert settings.rabbitmq_host in SERVICES
    stop_s = int(SERVICES[role]["stop_grace_period"].removesuffix("s"))
    assert stop_s > STOP_DEADLINE_S


def test_the_profile_scale_keeps_the_stores_in_its_bucket_and_rebuilds_by_its_cluster() -> None:
    """With ``STORES`` as docs/deployment.md has it; the bucket is the folder that the server finds when it starts."""
    settings = _settings_of("jobs-ray", STORES="s3://feature-service")
    places = (settings.raw_data_storage_path, settings.feature_log_storage_path, settings.dataset_storage_path)
    assert [str(place) for place in places] == [
        f"s3://feature-service/{name}" for name in ("raw", "features", "datasets")
    ]
    assert f"mkdir -p /data/{settings.raw_data_storage_path.parts[1]} " in SERVICES["objects"]["command"][0]
    assert settings.raw_folder == settings.feature_service_data_path / "raw"
    head, port = str(settings.ray_address).split(":")
    assert settings.feature_service_engine == "ray"
    assert f"ray start --head --port {port} " in SERVICES[head]["command"][0]
    for node in RAY:
        started = SERVICES[node]["command"][0]
        assert node == head or "ray start --address $$RAY_ADDRESS " in started
        # Only workers have CPUs for tasks, and every node runs the code of who asks.
        assert ("--num-cpus 0 " in started) == (node != "ray-worker")
        assert (SERVICES[node]["image"], SERVICES[node]["build"]["target"]) == ("feature-service-ray:0.1.0", "ray")
        assert SERVICES[node]["volumes"] == SERVICES["jobs"]["volumes"]
    assert SERVICES["jobs-ray"]["command"][0].endswith(" && exec feature-service run --roles jobs")
    # Neither server starts without its secret.
    assert SERVICES[head]["command"][0].startswith('test -n "$$RAY_AUTH_TOKEN" && ')
    assert SERVICES["objects"]["command"][0].startswith('test -n "$$MINIO_ROOT_PASSWORD" && ')
    guide = (ROOT / "docs" / "deployment.md").read_text()
    told = ("STORES=s3://feature-service", "AWS_ENDPOINT_URL=http://objects:9000", "RAY_AUTH_TOKEN=", "--profile scale")
    assert all(text in guide for text in told)


def _settings_of(role: str, **given: str) -> Settings:
    environment = {name: value for name, value in SERVICES[role]["environment"].items() if name not in OF_RAY}
    filled = {name: _filled_in(value, **given) for name, value in environment.items()}
    return load_settings({name: value or None for name, value in filled.items()}, env_file=None)


def _filled_in(text: str, **given: str) -> str:
    """What compose puts in for variables: what is given, one that is required, or its default."""

    def filled(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        return given.get(name) or (SECRETS[name] if kind == "?" else default)

    return re.sub(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}", filled, text)


def test_redis_asks_for_a_password_that_the_roles_and_its_health_check_know() -> None:
    redis, expected = SERVICES["redis"], "${REDIS_PASSWORD:?must be set in .env}"
    assert redis["command"][redis["command"].index("--requirepass") + 1] == expected
    assert redis["environment"]["REDISCLI_AUTH"] == expected
    assert all(SERVICES[role]["environment"]["REDIS_PASSWORD"] == expected for role in OURS)
