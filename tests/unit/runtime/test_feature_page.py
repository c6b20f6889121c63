"""The page that is generated from the declarations is complete."""

from __future__ import annotations

from runtime.feature_page import feature_page
from transforms.catalogue import FEATURES


def test_every_feature_has_a_formula_a_rule_for_nan_and_a_line_on_the_page() -> None:
    page = feature_page()
    for declared in FEATURES.values():
        assert declared.summary.endswith("."), declared.name
        assert declared.formula, declared.name
        assert declared.nan_rule, declared.name
        assert f"| `{declared.name}` |" in page
