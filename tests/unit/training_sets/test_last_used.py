"""Of what is kept, what was used last stays."""

from __future__ import annotations

from training_sets.last_used import LastUsed


def test_what_was_not_used_for_the_longest_makes_room() -> None:
    known = LastUsed[int, str](3)
    for key in (1, 2, 3):
        known.keep(key, str(key))
    assert known.get(1) == "1"
    known.keep(2, "two")
    known.keep(4, "4")
    assert [known.get(key) for key in (1, 2, 3, 4)] == ["1", "two", None, "4"]


def test_what_was_never_kept_is_not_there() -> None:
    assert LastUsed[str, int](1).get("nothing") is None
