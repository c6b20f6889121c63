"""Feast is imported without typeguard's checks of its classes, and everybody else's typeguard is as it was."""

from __future__ import annotations

import pytest
import typeguard

import feature_repo


def given_no_number() -> object:
    """What a method of a decorated class of this module returns."""

    class Decorated:
        def method(self, number: int) -> int:
            return number

    decorated: type[Decorated] = typeguard.typechecked(Decorated)
    return decorated().method("no number")  # type: ignore[arg-type]


def test_a_class_of_feast_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert feature_repo.UNCHECKED == "feast."
    monkeypatch.setattr(feature_repo, "UNCHECKED", __name__)
    assert given_no_number() == "no number"


def test_a_class_of_anybody_else_is_checked() -> None:
    with pytest.raises(typeguard.TypeCheckError, match="number"):
        given_no_number()
