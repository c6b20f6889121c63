"""The one test that says what is missing of a feature; others leave out what is not finished."""

from __future__ import annotations

from tests.unfinished import unfinished


def test_every_feature_has_its_fingerprint_its_line_on_the_page_its_golden_rows_and_its_oracle() -> None:
    missing = unfinished()
    assert not missing, "\n".join(["features are not finished:", *missing])
