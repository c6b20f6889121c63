"""As many rows are drawn as see a leak in one row of twenty, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest

from training_sets.checks.drawn import LEAST_CHANCE, LEAST_SHARE, draw_positions, rows_to_draw


@pytest.mark.parametrize("symbols", [1, 2, 10])
def test_so_many_rows_are_drawn_that_a_leak_is_missed_once_in_a_hundred(symbols: int) -> None:
    share = LEAST_SHARE / symbols
    count = rows_to_draw(symbols)
    assert (1.0 - share) ** count <= 1.0 - LEAST_CHANCE < (1.0 - share) ** (count - 1)


@pytest.mark.parametrize("place", ["begin", "middle", "end", "every twentieth", "every other of a tenth"])
def test_strata_see_a_leak_wherever_it_lies_as_often_as_is_said(place: str) -> None:
    total, count = 100_000, rows_to_draw(1)
    is_leak = np.zeros(total, np.bool_)
    share = int(LEAST_SHARE * total)
    where = {
        "begin": slice(0, share),
        "middle": slice(40_000, 40_000 + share),
        "end": slice(total - share, total),
        "every twentieth": slice(0, total, 20),
        "every other of a tenth": slice(30_000, 30_000 + 2 * share, 2),
    }[place]
    is_leak[where] = True
    seen = sum(bool(is_leak[draw_positions(total, count, seed)].any()) for seed in range(2_000))
    assert seen >= 0.985 * 2_000


def test_a_seed_draws_the_same_rows_again_and_another_one_others() -> None:
    once, again, other = (draw_positions(10_000, 90, seed) for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert (np.diff(once) > 0).all()
    assert once[0] < 112
    assert once[-1] >= 9_888


def test_all_rows_are_drawn_when_there_are_no_more() -> None:
    assert draw_positions(7, 90, seed=3).tolist() == list(range(7))
    assert draw_positions(0, 90, seed=3).tolist() == []
