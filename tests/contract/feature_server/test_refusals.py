"""A request that does not fit, that has no key or that meets no Redis is refused as Feast's clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from market.errors import StoreUnavailable
from tests.feast_served import KEY, Served
from tests.three_features import OURS


@pytest.mark.parametrize(
    ("path", "request_", "status", "name", "message"),
    [
        (
            "/get-online-features",
            {"entities": {"symbol": ["A"]}, "features": ["nosuch:x"]},
            404,
            "FeatureViewNotFoundException",
            "nosuch",
        ),
        (
            "/get-online-features",
            {"entities": {"symbol": ["A"]}, "features": ["price:mid_price", "price:mid_price"]},
            400,
            "FeatureNameCollisionError",
            "mid_price",
        ),
        ("/get-online-features", {"entities": {"symbol": ["A"]}, "features": ["price:nosuch"]}, 400, None, "nosuch"),
        (
            "/get-online-features",
            {"entities": {"symbol": ["A"]}},
            400,
            "FeastError",
            "exactly one of the two must be given",
        ),
        ("/get-online-features", {"entities": {"symbol": [1]}, "features": OURS}, 400, "FeastError", "must be texts"),
        (
            "/get-online-features",
            {"entities": {"driver_id": [7]}, "features": ["stats:trips"]},
            400,
            "FeastError",
            "entities: must have city",
        ),
        ("/get-online-features", {"features": OURS}, 422, "FeastError", "body.entities"),
        (
            "/push",
            {"push_source_name": "market", "df": {"symbol": ["A"]}},
            400,
            "FeastError",
            "only ingest may write them",
        ),
        (
            "/push",
            {"push_source_name": "nosuch", "df": {"symbol": ["A"]}},
            404,
            "PushSourceNotFoundException",
            "nosuch",
        ),
        (
            "/push",
            {"push_source_name": "drives", "df": {"driver_id": [7]}},
            400,
            "FeastError",
            "df: must have the columns of stats, was without city",
        ),
        (
            "/write-to-online-store",
            {
                "feature_view_name": "sector",
                "df": {"symbol": ["A"], "beta": [1.0], "event_timestamp": ["2099-01-01T00:00:00"]},
            },
            400,
            "FeastError",
            "must not be in the future",
        ),
        ("/materialize-incremental", {"end_ts": "soon"}, 400, "FeastError", "end_ts: must be an ISO time"),
        (
            "/materialize",
            {"start_ts": "2026-01-01", "end_ts": "2026-01-02", "feature_views": ["price"]},
            400,
            "FeastError",
            "only ingest may write them",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused_as_feasts_clients_read_it(
    served: Served, path: str, request_: dict[str, Any], status: int, name: str | None, message: str
) -> None:
    answer = served.ours.post(path, json=request_)
    assert answer.status_code == status, answer.text
    detail = json.loads(answer.json())
    assert name is None or detail["class"] == name
    assert message in detail["message"]


def test_every_route_wants_the_key_as_ours_or_as_feasts_clients_send_it(served: Served) -> None:
    body = {"entities": {"symbol": ["A"]}, "features": OURS}
    with TestClient(served.app) as client:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Basic {KEY}"}, 401),
            ({"X-API-Key": KEY}, 200),
            ({"Authorization": f"bearer {KEY}"}, 200),
        ):
            assert client.post("/get-online-features", json=body, headers=headers).status_code == status
        for path in ("/push", "/write-to-online-store", "/materialize", "/materialize-incremental"):
            assert client.post(path, json={}).status_code == 401


def test_redis_away_is_503_with_a_time_to_retry(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise StoreUnavailable("redis: call failed")

    monkeypatch.setattr(served.online, "fields", away)
    answer = served.ours.post("/get-online-features", json={"entities": {"symbol": ["A"]}, "features": OURS})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
