"""The image: its stages, what the build is given, and the one that runs every role and the tests."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import yaml

from feature_repo.store import MATERIALIZE_LATENESS_S, client_yaml
from tests.deployed import DOCKERFILE, PACKAGES, PINNED, PROJECT, ROOT, SERVICES, SETTINGS, WHOLE, volumes
from tests.images import copied_to_build


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


def test_the_image_is_built_in_stages_runs_as_nobody_special_and_checks_its_health() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)
    python = stages[0][0]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", python.partition("@")[0])
    assert PINNED.fullmatch(python)
    # The last is the service again, so that who names no stage does not get the tests.
    assert stages == [(python, "build"), (python, "service"), ("service", "ray"), ("service", "test"), ("service", "")]
    assert DOCKERFILE.endswith("\nFROM service\n")
    service = DOCKERFILE.partition(" AS service\n")[2].partition("\nFROM ")[0]
    assert "\nUSER feature-service\n" in service
    assert "/health" in service.partition("HEALTHCHECK")[2]
    named = set(re.findall(r"\b(?:FEATURE|RAW|DATASET)_[A-Z_]+(?==)", service))
    assert named
    assert named <= SETTINGS


def test_the_folder_of_the_crontab_is_the_one_with_the_yaml_that_the_service_writes() -> None:
    """``cd /app/feature_repo && feast materialize-incremental``: of the data folder, which a volume shares."""
    service = DOCKERFILE.partition(" AS service\n")[2].partition("\nFROM ")[0]
    [folder] = re.findall(r"FEATURE_SERVICE_DATA_PATH=(\S+)", service)
    [(target, link)] = re.findall(r"ln -s (\S+) (\S+)", service)
    assert (target, link) == (f"{folder}/historical", "/app/feature_repo")
    made = service.partition("install -d -o feature-service")[2].partition("&&")[0].split()
    for role in ("api", "jobs"):
        mounted = {target for _, target in volumes(SERVICES[role])}
        assert {f"{folder}/{name}" for name in ("historical", "client", "features", "tables")} <= mounted <= set(made)


def test_the_yaml_of_the_crontab_materializes_as_that_of_the_checkout() -> None:
    written = client_yaml(registry=Path("registry.db"), online_store={"type": "redis"}, offline_store={"type": "file"})
    of_checkout = yaml.safe_load((ROOT / "feature_store.yaml").read_text())
    assert yaml.safe_load(written)["materialization"] == of_checkout["materialization"]
    assert of_checkout["offline_store"]["materialize_lateness_s"] == MATERIALIZE_LATENESS_S


def test_the_stage_with_ray_installs_what_the_service_lacks_of_it_and_runs_as_the_service() -> None:
    stage = DOCKERFILE.partition("\nFROM service AS ray\n")[2].partition("\nFROM ")[0]
    chosen = re.search(r"awk '/\^\(([\w|]+)\)==/", stage)
    assert chosen is not None
    runtime = {line.partition("==")[0] for line in (ROOT / "deploy" / "requirements.txt").read_text().splitlines()}
    needed = {re.split(r"[<>=~ ]", each)[0] for each in requires("ray") or () if "extra" not in each}
    assert set(chosen[1].split("|")) == {"ray", *needed} - runtime
    assert "--no-deps --require-hashes" in stage
    assert stage.rindex("\nUSER feature-service\n") > stage.rindex("\nRUN ")


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
