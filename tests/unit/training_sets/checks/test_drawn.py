"""As many rows of each symbol are drawn as see a leak in one row of twenty, wherever it lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from market.clock import DAY_NS, SECOND_NS
from training_sets.checks.drawn import (
    FRESH,
    LEAST_CHANCE,
    LEAST_DRAWN,
    LEAST_SHARE,
    Draw,
    Drawn,
    IsProven,
    WrittenFile,
    stratum_ns,
)
from training_sets.dataset.files import FilePiece

Int64s = npt.NDArray[np.int64]
SYMBOL = "A"


def file_of(name: str, times_ns: Int64s, symbols: Sequence[str] = (SYMBOL,)) -> tuple[WrittenFile, FilePiece]:
    """A file with a row of each symbol at each time, and all that it holds; a row's value is its number.

    What the file tells of its rows is not looked at before ``drawn_of`` knows how long a stretch is.
    """
    count = len(times_ns) * len(symbols)
    held = FilePiece(
        symbols,
        np.tile(np.arange(len(symbols)), len(times_ns)),
        np.repeat(times_ns, len(symbols)),
        [np.arange(count, dtype=np.float64)],
    )
    return WrittenFile(name, Path(name), {}, "parquet"), held


def drawn_of(
    files: Sequence[tuple[WrittenFile, FilePiece]], seed: int, is_proven: IsProven | None = None, *, pieces: int = 3
) -> list[Drawn]:
    spans = {(int(held.times_ns[0]), int(held.times_ns[-1]) + 1) for _, held in files if len(held.times_ns)}
    length_ns = stratum_ns(sorted(spans))
    told = [
        replace(file, rows=Counter(zip(named, (held.times_ns // length_ns).tolist(), strict=True)))
        for file, held in files
        for named in [[held.symbols[number] for number in held.symbol.tolist()]]
    ]
    draw = Draw(told, length_ns, seed, is_proven)
    for file, held in files:
        for part in np.array_split(np.arange(len(held.times_ns)), pieces):
            draw.add(
                file.name, FilePiece(held.symbols, held.symbol[part], held.times_ns[part], [held.columns[0][part]])
            )
    return draw.rows()


def times(days: float, step_ns: int = 600 * SECOND_NS, begin_ns: int = 0) -> Int64s:
    return np.arange(begin_ns, begin_ns + int(days * DAY_NS), step_ns)


def test_so_many_rows_of_a_symbol_are_drawn_that_a_leak_is_missed_once_in_a_hundred() -> None:
    assert np.exp(-LEAST_SHARE * LEAST_DRAWN) <= 1.0 - LEAST_CHANCE < np.exp(-LEAST_SHARE * (LEAST_DRAWN - 1))


@pytest.mark.parametrize("days", [0.5, 3, 40, 200])
@pytest.mark.parametrize("symbols", [("A",), ("A", "B")])
def test_each_symbol_has_so_many_draws_and_no_more_than_twice_as_many(days: float, symbols: tuple[str, ...]) -> None:
    drawn = Counter(row.symbol for row in drawn_of([file_of("train", times(days, 7200 * SECOND_NS), symbols)], 1))
    available = len(times(days, 7200 * SECOND_NS))
    assert set(drawn) == set(symbols)
    assert all(min(LEAST_DRAWN, available) <= count <= 2 * LEAST_DRAWN + 2 for count in drawn.values())


@pytest.mark.parametrize("place", ["begin", "middle", "end", "every twentieth", "every other of a tenth"])
@pytest.mark.parametrize("days", [5.3, 200.0])
def test_strata_see_a_leak_wherever_it_lies_as_often_as_is_said(place: str, days: float) -> None:
    step_ns = int(days * DAY_NS) // 4_000 // SECOND_NS * SECOND_NS
    files = [file_of("train", times(0.7 * days, step_ns)), file_of("test", times(0.3 * days, step_ns, DAY_NS * 500))]
    total = sum(len(held.times_ns) for _, held in files)
    share = int(LEAST_SHARE * total)
    where = {
        "begin": slice(0, share),
        "middle": slice(total // 3, total // 3 + share),
        "end": slice(total - share, total),
        "every twentieth": slice(0, total, 20),
        "every other of a tenth": slice(total // 4, total // 4 + 2 * share, 2),
    }[place]
    is_leak = np.zeros(total, np.bool_)
    is_leak[where] = True
    number = {"train": 0, "test": len(files[0][1].times_ns)}
    seen = sum(
        any(is_leak[number[row.file] + int(row.values[0])] for row in drawn_of(files, seed, pieces=1))
        for seed in range(100)
    )
    assert seen >= 0.96 * 100


def test_folds_that_hold_the_same_days_have_their_share_of_the_draws() -> None:
    files = [file_of(f"fold-00{fold}/train", times(1.0, 60 * SECOND_NS)) for fold in range(3)]
    drawn = Counter(row.file for row in drawn_of(files, 1))
    assert all(drawn[file.name] > 0.2 * drawn.total() for file, _ in files)


def test_a_seed_draws_the_same_rows_again_and_another_one_others() -> None:
    files = [file_of("train", times(1.0, SECOND_NS))]
    once, again, other = ([row.time_ns for row in drawn_of(files, seed, pieces=seed)] for seed in (1, 1, 2))
    assert once == again
    assert once != other
    assert (np.diff(once) > 0).all()
    whole = [row.time_ns for row in drawn_of(files, 1, pieces=9)]
    assert once == whole


def test_all_rows_are_drawn_when_there_are_no_more() -> None:
    assert len(drawn_of([file_of("train", times(0.04))], 3)) == 6
    assert drawn_of([file_of("train", times(0.0))], 3) == []


def proves(proven: Int64s) -> IsProven:
    return lambda _symbol, times_ns: np.isin(times_ns, proven)


def times_of(drawn: Sequence[Drawn]) -> Int64s:
    return np.array([row.time_ns for row in drawn])


@pytest.mark.parametrize("days", [0.5, 120.0])
def test_proven_rows_are_drawn_but_for_a_few_and_see_a_leak_as_often(days: float) -> None:
    at_ns = times(days, 1200 * SECOND_NS if days > 1 else 20 * SECOND_NS)
    is_leak = (at_ns >= 0.4 * at_ns[-1]) & (at_ns < (0.4 + LEAST_SHARE) * at_ns[-1])
    leaking = at_ns[is_leak]
    # The labels of another horizon end elsewhere.
    before, now = [file_of("train", at_ns)], [file_of("train", at_ns[:-2])]
    seen, reused, count = 0, 0, 0
    for seed in range(50):
        proven = times_of(drawn_of(before, seed))
        again = times_of(drawn_of(now, seed + 1_000, proves(proven)))
        reused += int(np.isin(again, proven).sum())
        count += len(again)
        seen += bool(np.isin(again, leaking).any())
    assert seen >= 0.96 * 50
    assert 0.9 * count < reused < (1.0 - FRESH / 2) * count


@pytest.mark.parametrize("days", [30, 60, 100, 185])
def test_with_one_more_day_what_was_proven_of_the_others_is_drawn_again(days: int) -> None:
    before = [
        file_of("train", times(0.7 * days)),
        file_of("test", times(0.3 * days, begin_ns=int(0.7 * days) * DAY_NS)),
    ]
    after = [file_of("train", times(days - 3)), file_of("test", times(4, begin_ns=(days - 3) * DAY_NS))]
    proven = times_of(drawn_of(before, 1))
    again = times_of(drawn_of(after, 2, proves(proven)))
    fresh = again[~np.isin(again, proven)]
    assert len(fresh) < 0.12 * len(again)


def test_of_several_proven_rows_of_a_stratum_each_is_as_likely() -> None:
    # A stretch has five or six of these rows.
    files = [file_of("train", np.arange(10 * LEAST_DRAWN) * SECOND_NS)]
    proven = np.array([1, 3, 4]) * SECOND_NS
    counts = dict.fromkeys(proven.tolist(), 0)
    for seed in range(1_000):
        [row] = [row for row in drawn_of(files, seed, proves(proven), pieces=1) if row.time_ns <= 5 * SECOND_NS]
        if row.time_ns in counts:
            counts[row.time_ns] += 1
    assert all(270 < count < 390 for count in counts.values()), counts


def test_a_symbol_without_proven_rows_is_drawn_as_often_as_ever() -> None:
    files = [file_of("train", times(1.0), ("A", "B"))]
    drawn = drawn_of(files, 5)
    taken = drawn_of(files, 5, lambda symbol, times_ns: np.full(len(times_ns), symbol == "A"))
    assert [row.symbol for row in taken] == [row.symbol for row in drawn]
    of_b = [[row.time_ns for row in each if row.symbol == "B"] for each in (taken, drawn)]
    assert of_b[0] == of_b[1]
    assert LEAST_DRAWN <= len(of_b[0]) <= 2 * LEAST_DRAWN
