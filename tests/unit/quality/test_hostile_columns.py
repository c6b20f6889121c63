"""Columns that no market should have are judged by a rule's name and drawn, and never end a build by themselves."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.charts import histogram, line
from quality.profile import TableProfile
from quality.report import render_report
from quality.suites import check_quality, quality_document

Float64s = npt.NDArray[np.float64]
GREATEST = float(np.finfo(np.float64).max)
LEAST = float(np.nextafter(0.0, 1.0))
ROWS = 100

MANIFEST = {
    "request": {"output_format": "parquet"},
    "column_roles": {"keys": ["symbol", "timestamp"], "features": [], "targets": []},
    "strategy": "time_based",
    "classes": {},
    "rows_sampled": ROWS,
    "coverage": [],
    "rows_without_features": 0,
    "rows_without_label": 0,
    "rows_with_missing_dropped": 0,
    "records": {},
    "folds": [
        {
            "fold": None,
            "splits": [
                {
                    "name": "train",
                    "start": "2026-01-05T00:00:00Z",
                    "end": "2026-01-05T01:00:00Z",
                    "records": ROWS,
                    "purged": 0,
                    "embargoed": 0,
                    "last_label_end": None,
                    "overlaps_next": False,
                }
            ],
        }
    ],
    "continuity": [],
    "warnings": [],
}


def two_values(low: float, high: float) -> Float64s:
    return np.array([low, high] * (ROWS // 2))


@pytest.mark.parametrize(
    "values",
    [
        two_values(1.0, np.nextafter(1.0, 2.0)),
        two_values(1e20, np.nextafter(1e20, np.inf)),
        two_values(0.0, LEAST),
        two_values(-GREATEST, GREATEST),
        two_values(np.nextafter(GREATEST, 0.0), GREATEST),
    ],
    ids=["one ulp", "one ulp of a great value", "denormal", "the whole range", "one ulp at the end of the range"],
)
def test_two_values_are_drawn_apart_as_two_bars_of_one_height(values: Float64s) -> None:
    bars = re.findall(r'<rect x="([-\d.]+)" y="([-\d.]+)"', histogram(values, width=400, bins=40))
    assert [x for x, _ in bars] == ["0.0", "390.0"]
    assert len({y for _, y in bars}) == 1
    band = re.findall(r'<rect x="[-\d.]+" y="([-\d.]+)"', line(np.arange(ROWS), values, height=160, points=ROWS))
    assert set(band) == {"8.0", "134.0"}


@pytest.mark.parametrize("value", [0.0, 1.0, -3e20, LEAST, GREATEST])
def test_a_constant_is_one_bar_in_the_middle_with_its_value_at_both_ends(value: float) -> None:
    drawn = histogram(np.full(ROWS, value), width=400, bins=40)
    assert re.findall(r'<rect x="([-\d.]+)"', drawn) == ["200.0"]
    assert re.findall(r">([^<>]+)</text>", drawn) == [f"{value:.4g}"] * 2


def test_ends_that_round_to_the_same_are_told_apart() -> None:
    drawn = histogram(two_values(1.0, np.nextafter(1.0, 2.0)))
    assert re.findall(r">([^<>]+)</text>", drawn) == ["1.0", "1.0000000000000002"]


ULP_ABOVE = (float(np.nextafter(1.0, 2.0)), float(np.nextafter(1e20, np.inf)))
ORDINARY = (0.0, -0.0, 1.0, -1.0, 1e20, 1e-300)
VALUE = st.sampled_from((*ORDINARY, *ULP_ABOVE, LEAST, -LEAST, GREATEST, -GREATEST, np.nan, np.inf, -np.inf))


@st.composite
def column(draw: st.DrawFn, rows: int) -> Float64s:
    few = draw(st.lists(VALUE, min_size=1, max_size=4))
    return np.array(few * rows)[:rows]


@st.composite
def table(draw: st.DrawFn) -> Float64s:
    rows = draw(st.sampled_from([0, 1, 2, 31, ROWS]))
    return np.column_stack([draw(column(rows)) for _ in range(4)]).reshape(rows, 4)


TOLD = {"target": "regression"}
MEASURED: dict[str, object] = {
    "train_against_test": {"BTCUSDT": {}},
    "relations": {"targets": {}, "redundant": []},
    "missing_by_reason": None,
}


@given(table())
@settings(deadline=None, max_examples=60)
def test_any_table_is_judged_by_rules_alone_and_every_section_of_its_report_is_drawn(values: Float64s) -> None:
    names = ("spread", "rsi_14", "funding_rate", "target")
    profile = TableProfile(names, np.full(4, -np.inf), np.full(4, np.inf))
    profile.add(np.arange(len(values), dtype=np.int64) * 1_000_000_000, values)
    findings = check_quality(profile, ["target"], ["target"])
    assert quality_document(profile, findings)["rows"] == len(values)
    page = render_report("any", manifest=MANIFEST, profile=profile, findings=findings, targets=TOLD, measured=MEASURED)
    assert "could not be drawn" not in page
    assert not re.search(r'(?:x|y|width|height)="-?(?:nan|inf)', page)


def test_a_section_that_cannot_be_drawn_says_so_and_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    profile = TableProfile(("spread", "target"), np.full(2, -np.inf), np.full(2, np.inf))
    profile.add(np.arange(3, dtype=np.int64), np.ones((3, 2)))
    broken = MANIFEST | {"continuity": [{"name": "train"}]}
    page = render_report("any", manifest=broken, profile=profile, findings=[], targets=TOLD, measured=MEASURED)
    assert page.count("could not be drawn") == 1
    assert "<h2>Distributions</h2><div" in page
    assert "section Continuity" in caplog.text
