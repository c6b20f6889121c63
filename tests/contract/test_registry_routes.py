"""Every route of the feature registry, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.limits import RequestLimits
from api.services import ApiServices
from backfill.jobs import BackfillJobs
from feature_repo.registry_versions import DEFAULT_VERSION
from feature_repo.serving import FeatureServing
from market.clock import ManualClock
from registry.active import NEEDS_START, TAKES_EFFECT
from runtime.servers import Servers
from runtime.serving import registry_life_cycle
from runtime.settings import load_settings
from storage.database.quality_reports import QualityReports
from storage.features.log import FeatureLog
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.raw.raw_data import RawData
from tests.living_registry import MID, MID_AND_SPREAD, Living, living
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.datasets import Datasets

__all__ = ["living"]  # the fixture

BY_ANNA: Final = {"activation_reason": "to see", "activated_by": "anna"}


@pytest.fixture
def services(living: Living, tmp_path: Path) -> ApiServices:
    return ApiServices(
        online=cast("OnlineStore", None),
        metadata=living.metadata,
        builds=cast("DatasetBuilds", None),
        backfills=cast("BackfillJobs", None),
        quality_reports=cast("QualityReports", None),
        feed=RowFeed.connect(redis_settings("127.0.0.1:6379"), project="p"),  # connects when it is read
        clock=ManualClock(0),
        api_key="k",
        make_trace_id=lambda: "t",
        symbols=("BTCUSDT",),
        raw=RawData(tmp_path),
        versions_folder=living.folder,
        features=FeatureLog(tmp_path),
        datasets=Datasets(tmp_path),
        life_cycle=living.cycle,
        feature_server=cast("FeatureServing", None),
        limits=RequestLimits(changes_per_s=5000.0),
    )


@pytest.fixture
def client(services: ApiServices) -> Iterator[TestClient]:
    with TestClient(create_app(services), headers={"X-API-Key": "k"}) as found:
        yield found


def create(client: TestClient, version: str, config: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/feature-registry/versions", json={"version": version, "config": config})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def problem(client: TestClient, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and message of an answer that is no success."""
    content = None if body is None else json.dumps(body)  # in ASCII: half a surrogate pair too
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, f"/feature-registry{path}", content=content, headers=headers)
    document = answer.json()
    assert set(document) == {"error", "message", "trace_id"}
    return answer.status_code, document["message"]


def test_the_shipped_default_is_active_until_another_is(client: TestClient) -> None:
    document = client.get("/feature-registry").json()
    assert (document["version"], document["is_activated"]) == (DEFAULT_VERSION, False)
    assert document["config"]["version"] == DEFAULT_VERSION
    assert len(document["config"]["features"]) == 168
    assert (document["served_version"], document["hot_reload"]) == (DEFAULT_VERSION, True)
    assert document["takes_effect"] == TAKES_EFFECT
    assert (document["workers"], document["activation"]) == ([], None)


def test_without_the_database_no_route_changes_what_is_served(services: ApiServices, living: Living) -> None:
    settings = load_settings(
        {"FEATURE_REGISTRY_USE_DB": "false", "FEATURE_REGISTRY_VERSIONS_DIR": str(living.folder)}, env_file=None
    )
    with (
        registry_life_cycle(settings, Servers({}, living.url), living.metadata) as cycle,
        TestClient(create_app(replace(services, life_cycle=cycle)), headers={"X-API-Key": "k"}) as client,
    ):
        document = client.get("/feature-registry").json()
        assert (document["version"], document["hot_reload"]) == (DEFAULT_VERSION, False)
        assert document["takes_effect"] == NEEDS_START
        for path in (f"/versions/{DEFAULT_VERSION}/activate", "/rollback"):
            status, words = problem(client, "POST", path, BY_ANNA)
            assert (status, words.split(":")[0]) == (409, "FEATURE_REGISTRY_USE_DB")


def test_a_version_lives_from_its_creation_to_its_end(client: TestClient) -> None:
    made = create(client, "3.0.0", MID)
    assert (made["config"], made["is_active"], made["is_valid"], made["usage_count"]) == (
        {"version": "3.0.0", **MID},
        False,
        True,
        0,
    )
    path = "/feature-registry/versions/3.0.0/activate"
    refused = client.post(path, json=BY_ANNA)
    assert refused.status_code == 400
    assert "acknowledge_breaking_changes: must be true" in refused.json()["message"]
    done = client.post(path, json={**BY_ANNA, "acknowledge_breaking_changes": True})
    assert done.status_code == 200
    record = done.json()
    assert (record["version"], record["is_active"], record["previous_version"]) == ("3.0.0", True, DEFAULT_VERSION)
    assert (record["activated_by"], record["activation_reason"]) == ("anna", "to see")
    assert "spread_abs: removed" in record["breaking_changes"]
    assert (record["hot_reload"], record["takes_effect"]) == (True, TAKES_EFFECT)
    now = client.get("/feature-registry").json()
    assert (now["version"], now["is_activated"], now["served_version"]) == ("3.0.0", True, DEFAULT_VERSION)
    back = client.post("/feature-registry/rollback", json=BY_ANNA).json()
    assert (back["version"], back["rollback_from"]) == (DEFAULT_VERSION, "3.0.0")
    assert client.delete("/feature-registry/versions/3.0.0?deleted_by=anna").status_code == 204
    assert problem(client, "GET", "/versions/3.0.0")[0] == 404
    lines = client.get("/feature-registry/audit").json()
    assert [line["action"] for line in lines] == ["delete", "rollback", "activate", "create"]
    assert lines[2]["origin"] == "API from testclient, by FEATURE_SERVICE_API_KEY"
    assert (lines[2]["made_by"], lines[2]["reason"], lines[2]["trace_id"]) == ("anna", "to see", "t")
    assert lines[2]["at"] == "2026-08-09T12:00:00Z"
    assert len(client.get("/feature-registry/audit?version=3.0.0&limit=2").json()) == 2


def test_what_cannot_be_is_refused_with_its_status(client: TestClient, living: Living) -> None:
    create(client, "3.0.0", MID)
    living.write("4.0.0", "version: [")
    acknowledged = {**BY_ANNA, "acknowledge_breaking_changes": True}
    for method, path, body, status, words in (
        ("POST", "/versions", {"version": "3.0.0", "config": MID}, 409, "must be new"),
        ("POST", "/versions", {"version": "x", "config": MID}, 400, "version: must be <major>"),
        ("POST", "/versions", {"version": "5.0.0", "config": {"features": []}}, 400, "features: must be a list"),
        ("POST", "/versions", {"version": "5.0.0", "config": {**MID, "version": "5.0.1"}}, 400, "config.version"),
        (
            "POST",
            "/versions",
            {"version": "5.0.0", "config": {**MID, "x": "\ud800"}},
            400,
            "must contain only values of JSON and YAML",
        ),
        ("POST", "/versions", {"version": "5.0.0"}, 422, "body.config"),
        ("POST", "/versions", {"version": "5.0.0", "config": MID, "created_by": "\0"}, 400, "PostgreSQL can hold"),
        ("GET", "/versions/9.9.9", None, 404, f"must be one of {DEFAULT_VERSION}, 3.0.0, 4.0.0, was '9.9.9'"),
        ("GET", "/versions/..%2F..%2Fx", None, 404, ""),
        ("GET", "/versions/9.9.9/usage", None, 404, "was '9.9.9'"),
        ("POST", "/versions/9.9.9/sync-file", None, 404, "was '9.9.9'"),
        ("POST", "/versions/9.9.9/activate", acknowledged, 404, "was '9.9.9'"),
        ("POST", "/versions/latest/activate", acknowledged, 404, "was 'latest'"),
        ("POST", "/versions/4.0.0/activate", acknowledged, 409, "must be valid"),
        ("POST", "/versions/3.0.0/activate", {"activated_by": "anna"}, 422, "body.activation_reason"),
        ("POST", "/rollback", BY_ANNA, 409, "to return to, had none"),
        ("DELETE", f"/versions/{DEFAULT_VERSION}", None, 409, "it is shipped"),
        ("DELETE", "/versions/9.9.9", None, 404, "was '9.9.9'"),
        ("GET", f"/diff?before={DEFAULT_VERSION}&after=9.9.9", None, 404, "was '9.9.9'"),
        ("GET", f"/diff?before={DEFAULT_VERSION}&after=4.0.0", None, 409, "must be valid to be compared"),
    ):
        found = problem(client, method, path, body)
        assert (found[0], words in found[1]) == (status, True), (method, path, body, found)
    assert not (living.folder / "5.0.0.yaml").exists()


def test_a_broken_file_is_named_and_the_rest_is_told(client: TestClient, living: Living) -> None:
    living.write("4.0.0", "version: [")
    living.write("5.0.0", f"version: 5.0.0\nsince: 2026-01-05\nnot: .nan\nfeatures: {MID['features']}\n")
    sound = client.get("/feature-registry/validate").json()
    assert (sound["version"], sound["is_valid"], sound["validation_errors"]) == (DEFAULT_VERSION, True, [])
    assert list(sound["broken_files"]) == ["4.0.0"]
    broken = client.get("/feature-registry/validate?version=4.0.0").json()
    assert (broken["is_valid"], broken["validation_errors"]) == (False, sound["broken_files"]["4.0.0"])
    listed = {each["version"]: each for each in client.get("/feature-registry/versions").json()}
    assert {version: each["is_valid"] for version, each in listed.items()} == {
        DEFAULT_VERSION: True,
        "4.0.0": False,
        "5.0.0": True,
    }
    assert client.get("/feature-registry/versions/4.0.0").json()["config"] is None
    assert client.get("/feature-registry/versions/5.0.0").json()["config"]["since"] == "2026-01-05"
    synced = client.post("/feature-registry/versions/4.0.0/sync-file").json()
    assert (synced["is_recorded"], synced["is_valid"]) == (True, False)


def test_reload_says_what_the_active_file_became(client: TestClient, living: Living) -> None:
    create(client, "3.0.0", MID)
    client.post(
        "/feature-registry/versions/3.0.0/activate", json={**BY_ANNA, "acknowledge_breaking_changes": True}
    ).raise_for_status()
    same = client.post("/feature-registry/reload").json()
    assert (same["version"], same["is_valid"], same["is_changed"], same["hot_reload"]) == ("3.0.0", True, False, True)
    living.write("3.0.0", f"version: 3.0.0\nfeatures: {MID_AND_SPREAD['features']}\n")
    assert client.post("/feature-registry/reload").json()["is_changed"] is True
    living.write("3.0.0", "version: [")
    broken = client.post("/feature-registry/reload").json()
    assert (broken["is_valid"], len(broken["validation_errors"])) == (False, 1)
    assert client.get("/feature-registry").json()["config"] is None


def test_usage_tells_what_keeps_a_version(client: TestClient, living: Living) -> None:
    create(client, "3.0.0", MID)
    unused = client.get("/feature-registry/versions/3.0.0/usage").json()
    assert (unused["active_datasets_count"], unused["feature_computations_count"], unused["can_delete"]) == (0, 0, True)
    living.add_dataset("3.0.0")
    used = client.get("/feature-registry/versions/3.0.0/usage").json()
    assert (used["active_datasets_count"], used["can_delete"]) == (1, False)
    assert used["usage_details"]["datasets"] == ["d of 3.0.0"]
    assert used["usage_details"]["feature_services"] == ["features_v3_0_0"]
    assert client.delete("/feature-registry/versions/3.0.0").status_code == 409
    assert client.get("/feature-registry/versions/3.0.0").json()["usage_count"] == 1


def test_the_difference_is_told_by_columns_horizons_and_sources(client: TestClient) -> None:
    create(client, "3.0.0", MID)
    found = client.get(f"/feature-registry/diff?before=3.0.0&after={DEFAULT_VERSION}").json()
    assert len(found["added"]) == 167
    assert (found["removed"], found["breaking_changes"]) == ([], [])
    assert found["horizon_after_s"] > found["horizon_before_s"]
    assert set(found["rows_to_compute"]) == set(found["groups_to_compute"])
    assert client.get(f"/feature-registry/diff?before={DEFAULT_VERSION}&after=latest").json()["breaking_changes"] == []
    assert found["cost_before"] == found["cost_after"] == {"row_ms": 0.25, "rows_measured": 60, "reason": None}


def test_a_version_beside_the_active_one_is_begun_once_its_cost_is_accepted_and_ends(
    client: TestClient, living: Living
) -> None:
    create(client, "3.0.0", MID)
    path, beside = "/versions/3.0.0/activate", {**BY_ANNA, "shadow": True}
    accepted = {**beside, "accept_row_cost_ms": 0.25}
    status, words = problem(client, "POST", path, beside)
    assert (status, "accept_row_cost_ms: must be at least 0.250, " in words, "not given" in words) == (400, True, True)
    assert problem(client, "POST", path, {**beside, "accept_row_cost_ms": 0.2})[0] == 400
    assert problem(client, "POST", path, {**beside, "accept_row_cost_ms": -1})[0] == 422
    for cost_ms, why in (
        (None, "its cost could not be measured: no tape"),
        (3.5, "must be at most 3 ms, was 3.5"),
    ):
        living.cost_ms = cost_ms
        status, words = problem(client, "POST", path, accepted)
        assert (status, why in words) == (409, True), words
    living.cost_ms = 0.25
    begun = client.post(f"/feature-registry{path}", json=accepted).json()
    assert (begun["is_active"], begun["is_shadow"], begun["shadow_row_cost_ms"]) == (False, True, 0.25)
    now = client.get("/feature-registry").json()
    assert (now["version"], now["shadow_versions"]) == (DEFAULT_VERSION, ["3.0.0"])
    assert problem(client, "POST", path, accepted)[0] == 409
    assert "served next to the active one" in problem(client, "DELETE", "/versions/3.0.0")[1]
    assert client.delete("/feature-registry/versions/3.0.0/shadow?ended_by=anna").status_code == 204
    assert problem(client, "DELETE", "/versions/3.0.0/shadow")[0] == 409
    assert client.get("/feature-registry").json()["shadow_versions"] == []
    assert [line["action"] for line in client.get("/feature-registry/audit").json()] == [
        "end_shadow",
        "shadow",
        "create",
    ]


def test_a_version_that_is_activated_is_no_longer_beside_and_the_active_one_cannot_be(client: TestClient) -> None:
    create(client, "3.0.0", MID)
    path = "/feature-registry/versions/3.0.0/activate"
    beside = {**BY_ANNA, "shadow": True, "accept_row_cost_ms": 1}
    client.post(path, json=beside).raise_for_status()
    done = client.post(path, json={**BY_ANNA, "acknowledge_breaking_changes": True}).json()
    assert (done["is_active"], done["is_shadow"]) == (True, False)
    assert "must not be active to be a shadow" in client.post(path, json=beside).json()["message"]
