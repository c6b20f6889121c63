"""The registry's routes against their own OpenAPI document: requests drawn from it, and each answer held to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import openapi_document
from feature_repo.registry_versions import DEFAULT_VERSION
from tests.conftest import DRAWS_EXAMPLES
from tests.contract.test_registry_routes import client, services
from tests.living_registry import BY_ANNA, MID, MID_AND_SPREAD, Living, living
from tests.postgres_servers import MigratedPostgres

__all__ = ["client", "living", "services"]  # the fixtures

SCHEMA: Final = schemathesis.openapi.from_dict(openapi_document())
OPERATIONS: Final = [
    found.ok()
    for found in SCHEMA.include(path_regex="^/feature-registry").get_all_operations()
    if not isinstance(found, Err)
]
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""Not whether data is taken that the document allows, since what a version may be is the files' rule; nor whether a
parameter is refused that it does not name, since such a one is ignored."""
KEY: Final = {"X-API-Key": "k"}
VERSIONS: Final = st.sampled_from([DEFAULT_VERSION, "3.0.0", "3.1.0", "9.9.9", "latest"])
EXAMPLES: Final = 100 if DRAWS_EXAMPLES else 5


@pytest.fixture(scope="module")
def url(embedded_postgres: MigratedPostgres) -> Iterator[str]:
    """One server: how each PostgreSQL answers, the tests of the routes see."""
    with embedded_postgres.with_tables() as made:
        yield made


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_what_is_drawn_from_the_document_is_answered_as_it_says(
    client: TestClient, living: Living, mode: GenerationMode
) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    living.cycle.create("3.1.0", MID_AND_SPREAD, BY_ANNA)
    statuses: dict[str, set[int]] = {}

    def hold(operation: Any) -> None:  # noqa: ANN401  # of schemathesis
        @settings(
            max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy(generation_mode=mode, headers=KEY), version=VERSIONS)
        def one(case: Any, version: str) -> None:  # noqa: ANN401  # of schemathesis
            if mode is GenerationMode.POSITIVE and case.path_parameters:
                case.path_parameters["version"] = version  # one that may be there
            answer = case.call_and_validate(app=client.app, headers=KEY, checks=CHECKS)
            statuses.setdefault(operation.label, set()).add(answer.status_code)

        one()

    # Of a route that takes nothing, nothing can be wrong.
    chosen = [
        each
        for each in OPERATIONS
        if mode is GenerationMode.POSITIVE or len(each.path_parameters) + len(each.query) + len(each.body)
    ]
    for operation in chosen:
        hold(operation)
    seen = set.union(*statuses.values())
    assert len(statuses) == (14 if mode is GenerationMode.POSITIVE else len(chosen))
    assert 401 not in seen
    assert ({200, 404, 409} if mode is GenerationMode.POSITIVE else {422}) <= seen
