"""The quality gate: each rule is broken by what it is about, by name, and a sound table breaks none."""

from __future__ import annotations

import numpy as np
import pytest

from quality.profile import TableProfile
from quality.suites import RULES, Finding, check_quality, quality_document

ROWS = 400
NAMES = ("spread", "imbalance", "target")


def sound() -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    generator = np.random.default_rng(5)
    return {
        "spread": generator.uniform(0, 1, ROWS),
        "imbalance": generator.uniform(-1, 1, ROWS),
        "target": generator.choice([-1.0, 0.0, 1.0], ROWS),
    }


def findings(**changed: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[Finding]:
    return check_quality(profile_of(**changed), ["target"], {"target"})


def profile_of(**changed: np.ndarray[tuple[int], np.dtype[np.float64]]) -> TableProfile:
    columns = sound() | changed
    low, high = np.array([0.0, -1.0, -np.inf]), np.array([np.inf, 1.0, np.inf])
    profile = TableProfile(NAMES, low, high)
    profile.add(np.arange(ROWS, dtype=np.int64), np.column_stack([columns[name] for name in NAMES]))
    return profile


def test_a_sound_table_has_no_findings() -> None:
    assert findings() == []


def where(condition: np.ndarray[tuple[int], np.dtype[np.bool_]], value: float) -> dict[str, object]:
    return {"spread": np.where(condition, value, sound()["spread"])}


FIRST = np.arange(ROWS)


@pytest.mark.parametrize(
    ("changed", "rule", "severity"),
    [
        (where(FIRST < ROWS // 3, np.nan), "missing", "minor"),
        (where(FIRST == 0, np.inf), "infinities", "critical"),
        (where(FIRST == 0, -0.5), "declared range", "critical"),
        ({"spread": np.full(ROWS, 0.5)}, "not constant", "minor"),
        (where(FIRST < ROWS // 50, 1e6), "outliers", "minor"),
        ({"spread": sound()["imbalance"] + 2.0}, "correlation", "minor"),
        ({"imbalance": sound()["target"]}, "unlike the label", "critical"),
        ({"target": np.full(ROWS, np.nan)}, "target present", "critical"),
        ({"target": np.where(FIRST == 0, np.inf, sound()["target"])}, "target finite", "critical"),
        ({"target": np.ones(ROWS)}, "target not constant", "critical"),
        ({"target": np.where(FIRST < ROWS // 10, 1.0, 0.0)}, "target balance", "minor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_rule_is_broken_by_what_it_is_about(
    changed: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]], rule: str, severity: str
) -> None:
    found = {finding.rule: finding for finding in findings(**changed)}
    assert found[rule].severity == severity
    [name] = changed
    assert all(name in subject for subject in found[rule].subjects)


def test_every_rule_is_tested_above() -> None:
    marks = test_each_rule_is_broken_by_what_it_is_about.pytestmark  # type: ignore[attr-defined]  # pytest's own
    assert {case[1] for case in marks[0].args[1]} == {rule.name for rule in RULES}


def test_the_document_names_what_was_found_and_whether_it_passes() -> None:
    profile = profile_of(spread=np.full(ROWS, -0.5))
    found = check_quality(profile, ["target"], {"target"})
    document = quality_document(profile, found)
    assert document["passed"] is False
    assert document["columns"]["spread"]["outside_range"] == ROWS
    assert [finding["rule"] for finding in document["findings"]] == ["declared range", "not constant"]
    assert str(found[0]) == (
        "quality, declared range: no value may be outside the range that its feature declares, was spread 400"
    )


def test_a_finding_without_a_measured_value_names_its_subjects_alone() -> None:
    [found] = findings(spread=np.full(ROWS, 0.5))
    assert str(found) == "quality, not constant: a feature must have more than one value, was spread"


def test_a_value_below_its_rule_is_found_as_one_above_is() -> None:
    [found] = findings(spread=1.0 - sound()["imbalance"])
    assert found.rule == "correlation"
    assert found.subjects == {"spread × imbalance": pytest.approx(-1.0)}


def test_a_table_without_pairs_of_features_is_judged() -> None:
    profile = TableProfile(("spread", "target"), np.array([0.0, -np.inf]), np.full(2, np.inf))
    profile.add(np.arange(ROWS, dtype=np.int64), np.column_stack([sound()["spread"] - 0.5, sound()["target"]]))
    assert [found.rule for found in check_quality(profile, ["target"], {"target"})] == ["declared range"]
