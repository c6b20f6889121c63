"""What is generated from the declarations is up to date, and complete."""

from __future__ import annotations

from runtime.feature_page import PAGE, feature_page
from transforms.catalogue import FEATURES


def test_the_page_of_features_is_what_the_declarations_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == feature_page(), "run: feature-service features document"


def test_every_feature_has_a_formula_a_rule_for_nan_and_a_line_on_the_page() -> None:
    page = feature_page()
    for declared in FEATURES.values():
        assert declared.summary.endswith("."), declared.name
        assert declared.formula, declared.name
        assert declared.nan_rule, declared.name
        assert f"| `{declared.name}` |" in page
