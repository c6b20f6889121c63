"""The table of errors: every class of ours has its status and the one shape."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import errors as api_errors
from api.errors import INTERNAL_MESSAGE, STATUS, error_response, status_of
from feature_repo.registry_versions import load_registry_version
from market import errors
from market.errors import Conflict, DeclarationError, FeatureServiceError, StoreUnavailable

EXPECTED = {
    "FeatureServiceError": 500,
    "RejectedMessage": 400,
    "MalformedMessage": 400,
    "UnknownTopic": 400,
    "ScaleExceeded": 400,
    "UnreadableRecording": 500,
    "DeclarationError": 500,
    "InvalidFeature": 500,
    "InvalidRegistry": 500,
    "InvalidSettings": 500,
    "InvalidRequest": 400,
    "NotFound": 404,
    "Conflict": 409,
    "CorruptStore": 500,
    "StoreUnavailable": 503,
    "StoreRefused": 503,
    "Unauthorized": 401,
    "Forbidden": 403,
    "MalformedRequest": 422,
    "TooManyRequests": 429,
    "BodyTooLarge": 413,
    "RequestTooSlow": 408,
}


def classes() -> Iterator[type[FeatureServiceError]]:
    """Every class of the two modules that declare errors which reach the API, but the one that brings its status."""
    for module in (errors, api_errors):
        for found in vars(module).values():
            if (
                isinstance(found, type)
                and issubclass(found, FeatureServiceError)
                and found.__module__ == module.__name__
                and found is not errors.FeastRefusal
            ):
                yield found


def raised(kind: type[FeatureServiceError]) -> FeatureServiceError:
    return kind("thing", ["rule"]) if issubclass(kind, DeclarationError) else kind("thing: rule")


def test_every_class_of_the_tree_has_its_status() -> None:
    assert {kind.__name__: status_of(raised(kind)) for kind in classes()} == EXPECTED
    assert set(STATUS) <= set(classes())


@pytest.mark.parametrize("kind", list(classes()), ids=lambda kind: kind.__name__)
def test_every_error_is_told_in_one_shape(kind: type[FeatureServiceError], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    response = error_response(raised(kind), "trace-1")
    is_internal = response.status_code == 500
    assert response.status_code == EXPECTED[kind.__name__]
    assert json.loads(bytes(response.body)) == {
        "error": "InternalError" if is_internal else kind.__name__,
        "message": INTERNAL_MESSAGE if is_internal else "thing: rule",
        "trace_id": "trace-1",
    }
    assert ("retry-after" in response.headers) == (response.status_code in {429, 503})


def test_an_internal_error_is_logged_with_its_trace_id_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise errors.CorruptStore("file x: must be whole, was not")
    except errors.CorruptStore as error:
        error_response(error, "trace-1")
    assert [each.getMessage() for each in caplog.records] == [
        "trace_id trace-1: CorruptStore: file x: must be whole, was not"
    ]
    assert "Traceback" not in caplog.text


def test_a_broken_registry_file_is_no_fault_of_the_caller_and_the_log_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "3.0.0.yaml").write_text("version: 3.0.0\nfeatures: []\n")
    with pytest.raises(errors.InvalidRegistry) as caught:
        load_registry_version("3.0.0", tmp_path)
    response = error_response(caught.value, "trace-1")
    assert response.status_code == 500
    assert str(tmp_path) not in bytes(response.body).decode()
    assert str(tmp_path / "3.0.0.yaml") in caplog.text
    assert "features: must be a list of at least one feature" in caplog.text


def test_a_caller_is_not_told_where_the_files_are(tmp_path: Path) -> None:
    for error in (StoreUnavailable, Conflict):
        told = json.loads(bytes(error_response(error(f"{tmp_path}/raw/tape: must be writable, was full"), "t").body))
        assert told["message"] == "tape: must be writable, was full"
    kept = "POST /model/evaluate: must be of 1/2 or /nowhere/at/all"
    assert json.loads(bytes(error_response(Conflict(kept), "t").body))["message"] == kept
