"""How long is left is told from the pace so far."""

from __future__ import annotations

import pytest

from runtime.commands.progress import remaining


@pytest.mark.parametrize(
    ("elapsed_s", "done", "left", "told"),
    [
        (10.0, 5, 3, "about 6 s left"),
        (10.0, 1, 9, "about 1 min 30 s left"),
        (600.0, 1, 13, "about 2 h 10 min left"),
        (10.0, 4, 0, "done"),
        (10.0, 0, 4, "time left unknown"),
    ],
)
def test_the_time_left_follows_from_the_pace(elapsed_s: float, done: int, left: int, told: str) -> None:
    assert remaining(elapsed_s=elapsed_s, done=done, left=left) == told
