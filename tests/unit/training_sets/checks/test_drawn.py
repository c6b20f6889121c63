"""As many rows are drawn as see a leak in one row of twenty, wherever it lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training_sets.checks.drawn import (
    FRESH,
    LEAST_CHANCE,
    LEAST_SHARE,
    Drawn,
    ProvenDraw,
    draw_positions,
    rows_to_draw,
    strata,
)
from training_sets.dataset.files import FilePiece


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


def drawn_again(total: int, count: int, proven: npt.NDArray[np.int64], seed: int) -> list[int]:
    """The numbers of the rows that a check draws where these are proven, of a file in two pieces."""
    again = ProvenDraw(strata(total, count), seed)
    for begin, end in ((0, total // 3), (total // 3, total)):
        rows = np.arange(begin, end)
        piece = FilePiece(np.full(len(rows), "A", object), rows, np.zeros((len(rows), 1)))
        again.add("train", piece, begin, lambda _symbol, times_ns: np.isin(times_ns, proven))
    fresh = draw_positions(total, count, seed).tolist()
    empty = np.zeros(1)
    return [again.instead_of(Drawn("train", "A", row, empty), at).time_ns for at, row in enumerate(fresh)]


def test_proven_rows_are_drawn_but_for_a_few_and_see_a_leak_as_often() -> None:
    total, count = 20_000, rows_to_draw(1)
    is_leak = np.zeros(total, np.bool_)
    is_leak[9_000 : 9_000 + int(LEAST_SHARE * total)] = True
    seen, reused = 0, 0
    for seed in range(200):
        proven = draw_positions(total + 40, count, seed)
        drawn = drawn_again(total, count, proven, seed + 1_000)
        assert np.array_equal(np.searchsorted(strata(total, count), drawn, side="right"), np.arange(1, count + 1))
        reused += int(np.isin(drawn, proven).sum())
        seen += bool(is_leak[drawn].any())
    assert seen >= 0.98 * 200
    assert 0.9 * 200 * count < reused < (1.0 - FRESH / 2) * 200 * count


def test_of_several_proven_rows_of_a_stratum_each_is_as_likely() -> None:
    proven = np.array([2, 5, 8])
    counts = dict.fromkeys(proven.tolist(), 0)
    for seed in range(3_000):
        [row] = drawn_again(10, 1, proven, seed)
        if row in counts:
            counts[row] += 1
    assert all(850 < count < 1_150 for count in counts.values()), counts


def test_a_symbol_without_proven_rows_is_drawn_as_often_as_ever() -> None:
    total, count = 900, 90
    edges = strata(total, count)
    symbols = np.where(np.arange(total) % 2 == 0, "A", "B").astype(object)
    piece = FilePiece(symbols, np.arange(total) // 2, np.zeros((total, 1)))
    again = ProvenDraw(edges, 5)
    again.add("train", piece, 0, lambda symbol, times_ns: np.full(len(times_ns), symbol == "A"))
    positions = draw_positions(total, count, 5)
    drawn = [Drawn("train", str(symbols[at]), int(at // 2), np.zeros(1)) for at in positions.tolist()]
    taken = [again.instead_of(row, stratum) for stratum, row in enumerate(drawn)]
    assert [row.symbol for row in taken] == [row.symbol for row in drawn]
    others = [(one, other) for one, other in zip(taken, drawn, strict=True) if other.symbol == "B"]
    assert all(one is other for one, other in others)
    assert 20 < len(others) < 70
