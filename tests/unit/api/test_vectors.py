"""The feature vector document."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from api.vectors import feature_vector
from market.clock import MILLISECOND_NS, parse_iso_ns
from storage.online.vector import OnlineVector
from transforms.status import NO_DATA, OK

ROW_NS = parse_iso_ns("2026-01-05T12:00:07")


def vector(values: list[float], missing: dict[str, str]) -> OnlineVector:
    return OnlineVector(
        symbol="BTCUSDT",
        row_ns=ROW_NS,
        available_ns=ROW_NS + 10 * MILLISECOND_NS,
        version="1.0.0",
        fingerprint="f00",
        columns=("mid_price", "vwap_3s", "returns_1s"),
        values=np.array(values),
        statuses={"price": 0},
        missing=missing,
    )


def test_unknown_values_are_left_out_and_named_with_their_reason() -> None:
    found = vector([0.1 + 0.2, float("nan"), 0.0], {"vwap_3s": "UNDEFINED"})
    document = feature_vector(found, now_ns=ROW_NS + 12 * MILLISECOND_NS + 999_999, trace_id="t")
    assert document == {
        "timestamp": "2026-01-05T12:00:07Z",
        "symbol": "BTCUSDT",
        "features": {"mid_price": 0.1 + 0.2, "returns_1s": 0.0},
        "missing": {"vwap_3s": "UNDEFINED"},
        "groups": {"price": "OK"},
        "feature_registry_version": "1.0.0",
        "feature_set": "f00",
        "age_ms": 12,
        "trace_id": "t",
    }
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_position_of_0_that_is_not_known_has_the_status_of_its_group_beside_it() -> None:
    found = replace(vector([1.0, 2.0, 0.0], {}), statuses={"price": OK, "position": NO_DATA})
    document = feature_vector(found, now_ns=ROW_NS, trace_id="t", features=["returns_1s"])
    assert (document["features"], document["missing"]) == ({"returns_1s": 0.0}, {})
    assert document["groups"] == {"price": "OK", "position": "NO_DATA"}


def test_the_age_is_never_negative_where_the_writers_clock_is_ahead() -> None:
    found = vector([1.0, 2.0, 3.0], {})
    assert feature_vector(found, now_ns=ROW_NS - 834 * MILLISECOND_NS, trace_id="t")["age_ms"] == 0
    assert found.age_ns(ROW_NS - 1) == 0
    assert found.age_ns(ROW_NS + 1) == 1


def test_a_row_that_knows_nothing_has_no_features() -> None:
    document = feature_vector(
        vector([float("nan")] * 3, dict.fromkeys(("mid_price", "vwap_3s", "returns_1s"), "GAP")),
        now_ns=ROW_NS,
        trace_id="t",
    )
    assert document["features"] == {}
    assert set(document["missing"].values()) == {"GAP"}
