"""The relations of a dataset are told by split and month, with the overlap of its labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from market.clock import DAY_NS, MINUTE_NS, format_iso, parse_iso_ns
from quality.profile import TableProfile
from quality.relations import relations
from training_sets.dataset.relations import _relations, label_relations

BEGIN_NS = parse_iso_ns("2026-01-31T00:00:00")
ROWS = 2 * 1440


def test_each_split_and_month_has_its_own_coefficients() -> None:
    generator = np.random.default_rng(3)
    label = generator.standard_normal(ROWS)
    known = generator.standard_normal(ROWS)
    known[: ROWS // 2] = label[: ROWS // 2]
    values = np.stack([known, -known, generator.standard_normal(ROWS), label], axis=1)
    names = ("knowing", "mirrored", "noise", "target")
    profile = TableProfile(names, np.full(4, -np.inf), np.full(4, np.inf))
    profile.add(BEGIN_NS + np.arange(ROWS) * MINUTE_NS, values)
    splits = [
        {"name": name, "start": format_iso(BEGIN_NS + at * DAY_NS), "end": format_iso(BEGIN_NS + (at + 1) * DAY_NS)}
        for at, name in enumerate(("train", "test"))
    ]
    target = {"name": "target", "type": "regression", "horizon_ns": 5 * MINUTE_NS}
    found = label_relations(profile, {"targets": [target], "folds": [{"splits": splits}]})
    json.dumps(found, allow_nan=False)
    of = found["targets"]["target"]
    assert of["overlap"] == 5.0
    assert of["autocorrelation"]["rows_apart"] == 5
    assert of["by_split"].keys() == {"train", "test"}
    assert of["by_month"].keys() == {"2026-01", "2026-02"}
    for kind, (first, second) in {"by_split": ("train", "test"), "by_month": ("2026-01", "2026-02")}.items():
        assert of[kind][first]["knowing"]["rank_ic"] == pytest.approx(1.0)
        assert of[kind][first]["mirrored"]["ic"] == pytest.approx(-1.0)
        assert abs(of[kind][second]["knowing"]["rank_ic"]) < 0.1
        assert of[kind][first]["knowing"]["rows"] == 1440
    assert found["redundant"] == [["knowing", "mirrored"]]


def test_a_dataset_without_rows_has_no_coefficients() -> None:
    profile = TableProfile(("one", "target"), np.full(2, -np.inf), np.full(2, np.inf))
    target = {"name": "target", "type": "regression", "horizon_ns": MINUTE_NS}
    split = {"name": "train", "start": format_iso(BEGIN_NS), "end": format_iso(BEGIN_NS + DAY_NS)}
    found = label_relations(profile, {"targets": [target], "folds": [{"splits": [split]}]})
    json.dumps(found, allow_nan=False)
    assert found["targets"]["target"]["by_split"]["train"]["one"]["ic"] is None


def test_rows_that_were_seen_before_are_related_as_if_they_were_not() -> None:
    generator = np.random.default_rng(4)
    values, label, symbol = generator.standard_normal((200, 3)), generator.standard_normal((200, 1)), np.zeros(200, int)
    first = _relations(values, label, symbol, [5.0])
    assert _relations(values.copy(), label, symbol, [5.0]) is first
    assert relations(values, label, symbol, overlaps=[5.0]) == first
    # Another value, another overlap, or the same bytes in another shape are other rows.
    values[7, 1] += 1.0
    for columns, overlap in ((values, 5.0), (values, 6.0), (values[:, :2], 5.0)):
        again = _relations(columns, label, symbol, [overlap])
        assert again is not first
        assert again == relations(columns, label, symbol, overlaps=[overlap])
