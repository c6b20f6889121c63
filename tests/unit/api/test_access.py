"""The door: the key, the trace id, and the shape of what the router refuses by itself."""

from __future__ import annotations

import logging

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from api.access import OPEN_PATHS, STREAM_PATH, TOKEN_S, Door, stream_token
from api.errors import INTERNAL_MESSAGE, install_error_handlers
from api.sessions import COOKIE, CSRF_HEADER, SESSION_S, csrf_token, session_value

KEY = "schlüssel"
NOW_S = 1_700_000_000


def client_of(api_key: str | None) -> TestClient:
    app = FastAPI()
    install_error_handlers(app)
    app.add_middleware(Door, api_key=api_key, make_trace_id=lambda: "made", now_s=lambda: NOW_S)

    def answer(request: Request, number: int = 0) -> dict[str, object]:
        return {"trace_id": request.state.trace_id, "number": number}

    def fail() -> None:
        raise RuntimeError("the secret of the house")

    for path in ("/closed", "/health", STREAM_PATH):
        app.get(path)(answer)
    app.get("/fail")(fail)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x", KEY[:-1]])
def test_a_closed_route_wants_exactly_the_key(key: str | None) -> None:
    headers = {} if key is None else {"X-API-Key": key.encode()}
    answer = client_of(KEY).get("/closed", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "Unauthorized",
        "message": "X-API-Key: must be the service's key, was wrong or missing",
        "trace_id": "made",
    }


def test_the_key_opens_the_door() -> None:
    assert client_of(KEY).get("/closed", headers={"X-API-Key": KEY.encode()}).status_code == 200


def test_without_a_configured_key_everybody_may_come_in() -> None:
    assert client_of(None).get("/closed").status_code == 200


def test_health_and_the_openapi_page_need_no_key_and_everything_else_does() -> None:
    client = client_of(KEY)
    for path in ("/health", "/openapi.json", "/docs"):
        assert path in OPEN_PATHS
        assert client.get(path).status_code == 200
    for path in ("/nothing", "/health/", "//health", "/docs/x"):
        assert client.get(path).status_code == 401


def test_a_missing_key_is_told_before_a_malformed_request() -> None:
    assert client_of(KEY).get("/closed?number=x").status_code == 401


def test_a_given_trace_id_is_kept_and_returned() -> None:
    answer = client_of(None).get("/closed", headers={"X-Trace-Id": "4bf92f35-77b3:4d.a_1"})
    assert answer.headers["X-Trace-Id"] == answer.json()["trace_id"] == "4bf92f35-77b3:4d.a_1"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "ü", "a\tb", '"'])
def test_a_malformed_trace_id_is_replaced(given: str) -> None:
    answer = client_of(None).get("/closed", headers={"X-Trace-Id": given.encode()})
    assert answer.headers["X-Trace-Id"] == answer.json()["trace_id"] == "made"


def test_a_malformed_request_names_the_field_the_rule_and_the_value() -> None:
    answer = client_of(None).get("/closed?number=x")
    assert answer.status_code == 422
    assert answer.json()["error"] == "MalformedRequest"
    assert answer.json()["message"].startswith("query.number: ")
    assert answer.json()["message"].endswith("was 'x'")
    assert answer.headers["X-Trace-Id"] == "made"


def test_what_the_router_refuses_has_the_shape_too() -> None:
    client = client_of(None)
    assert client.get("/nothing").json() == {
        "error": "NotFound",
        "message": "GET /nothing: Not Found; GET /docs lists the routes",
        "trace_id": "made",
    }
    refused = client.post("/closed")
    assert refused.status_code == 405
    assert refused.json()["error"] == "MethodNotAllowed"
    assert refused.headers["Allow"] == "GET, HEAD"


def test_an_unexpected_error_tells_the_log_and_not_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    answer = client_of(None).get("/fail", headers={"X-Trace-Id": "t-7"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "InternalError", "message": INTERNAL_MESSAGE, "trace_id": "t-7"}
    assert answer.headers["X-Trace-Id"] == "t-7"
    [logged] = [record for record in caplog.records if record.name == "api.errors"]
    assert "t-7" in logged.getMessage()
    assert logged.exc_info is not None


@pytest.mark.parametrize(
    ("made_s", "path", "status"),
    [
        (NOW_S, STREAM_PATH, 200),
        (NOW_S - TOKEN_S + 1, STREAM_PATH, 200),
        (NOW_S - TOKEN_S, STREAM_PATH, 401),
        (NOW_S, "/closed", 401),
    ],
)
def test_a_token_opens_the_stream_alone_and_for_a_minute(made_s: int, path: str, status: int) -> None:
    token, until_s = stream_token(KEY, now_s=made_s)
    assert until_s == made_s + TOKEN_S
    assert client_of(KEY).get(path, params={"token": token}).status_code == status


def test_a_token_that_was_made_without_the_key_opens_nothing() -> None:
    token, until_s = stream_token("another", now_s=NOW_S)
    forged = f"{until_s + 1000}.{stream_token(KEY, now_s=NOW_S)[0].partition('.')[2]}"
    for given in (token, forged, "", ".", "x.y", "ü.ü"):
        assert client_of(KEY).get(STREAM_PATH, params={"token": given}).status_code == 401


def session_client(*, now_s: int = NOW_S) -> tuple[TestClient, str]:
    """A client with the cookie of a session that began at ``now_s``, and the session's token."""
    client = client_of(KEY)
    value = session_value(KEY, now_s=now_s)
    client.cookies.set(COOKIE, value)
    return client, csrf_token(KEY.encode(), value)


def test_a_session_reads_and_changes_with_its_token_alone() -> None:
    client, token = session_client()
    assert client.get("/closed").status_code == 200
    for shown in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: token[:-1]}, {CSRF_HEADER: session_client(now_s=NOW_S - 1)[1]}):
        refused = client.post("/closed", headers=shown)
        assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    assert client.post("/closed", headers={CSRF_HEADER: token}).status_code == 405, "the route has no POST"
    assert client.post("/closed", headers={"X-API-Key": KEY.encode()}).status_code == 405


def test_a_session_ends_and_another_keys_or_another_purposes_signature_opens_nothing() -> None:
    assert session_client(now_s=NOW_S - SESSION_S + 1)[0].get("/closed").status_code == 200
    assert session_client(now_s=NOW_S - SESSION_S)[0].get("/closed").status_code == 401
    token, _ = stream_token(KEY, now_s=NOW_S)
    for value in ("", ".", "x.y", session_value("another", now_s=NOW_S), token, session_value(KEY, now_s=NOW_S) + "0"):
        client = client_of(KEY)
        client.cookies.set(COOKIE, value)
        assert client.get("/closed").status_code == 401
