"""Columns that repeat what comes are told over all rows; those that follow from the past are left alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from market.clock import SECOND_NS
from market.errors import InvalidRequest
from training_sets.checks.foresight import LEAST_ROWS, Foresight, _clean, _correlations
from training_sets.dataset.files import FilePiece

ROWS = 12_000
HORIZON = 10
TIMES_NS = np.arange(ROWS, dtype=np.int64) * SECOND_NS

Float64s = npt.NDArray[np.float64]


def market(seed: int) -> tuple[Float64s, Float64s]:
    """Features mid_price, past return, volatility, sine and a bouncing price; the label, the return ahead."""
    random = np.random.default_rng(seed)
    mid = np.round(100.0 + np.cumsum(random.standard_normal(ROWS + HORIZON)) * 0.02, 2)
    now = mid[:ROWS]
    past = now / np.roll(now, HORIZON) - 1.0
    past[:HORIZON] = np.nan
    volatility = np.abs(past) * 3.0
    wave = np.sin(np.arange(ROWS) / 700.0)
    features = np.stack([now, past, volatility, wave, np.round(now, 1)], axis=1)
    return features, mid[HORIZON:] / now - 1.0


COLUMNS = ("mid_price", "past", "volatility", "wave", "rounded")


def judge(features: Float64s, label: Float64s, *, is_class: bool = False, cut: int = 5_000) -> Foresight:
    found = Foresight(COLUMNS, {"target": is_class}, longest_reach_ns=HORIZON * SECOND_NS, interval_ns=SECOND_NS)
    symbol = np.zeros(ROWS, np.int64)
    values = np.column_stack([features, label])
    for begin in range(0, ROWS, cut):
        part = slice(begin, begin + cut)
        found.add("train", FilePiece(["BTCUSDT"], symbol[part], TIMES_NS[part], list(values[part].T)))
    found.finish("train")
    return found


def nudged(label: Float64s) -> Float64s:
    noise = np.random.default_rng(9).standard_normal(ROWS) * np.std(label) * 0.1
    known: Float64s = -2.5 * label + noise
    return known


@pytest.mark.parametrize(("begin", "end"), [(0.05, 0.20), (0.30, 0.45), (0.8, 0.9)])
@pytest.mark.parametrize("plant", ["copy", "nudged", "next_price", "next_return"])
def test_a_column_that_tells_what_comes_in_a_part_of_the_rows_is_named(plant: str, begin: float, end: float) -> None:
    features, label = market(3)
    ahead = np.append(features[1:, 0], np.nan)
    leak = {
        "copy": label,
        "nudged": nudged(label),
        "next_price": ahead,
        "next_return": ahead / features[:, 0] - 1.0,
    }[plant]
    part = slice(int(begin * ROWS), int(end * ROWS))
    features[part, 2] = leak[part]
    with pytest.raises(InvalidRequest, match="leakage: volatility of BTCUSDT in train from"):
        judge(features, label)


@pytest.mark.parametrize("seed", range(50))
def test_what_follows_from_the_past_is_never_accused(seed: int) -> None:
    features, label = market(seed)
    document = judge(features, label).document()
    assert document == {"block_rows": LEAST_ROWS, "rows_judged": ROWS, "rows_too_few_to_judge": 0}


def test_classes_that_a_column_copies_are_told_and_seldom_ones_are_not() -> None:
    features, label = market(5)
    classes = np.sign(label) * (np.abs(label) > 2e-4)
    judge(features, classes, is_class=True)
    features[2_000:4_000, 3] = classes[2_000:4_000]
    with pytest.raises(InvalidRequest, match=r"wave of BTCUSDT in train from .* must have a correlation below 0.9"):
        judge(features, classes, is_class=True)


def test_the_blocks_do_not_depend_on_how_a_file_is_read() -> None:
    features, label = market(7)
    features[6_000:7_000, 1] = label[6_000:7_000]
    told = []
    for cut in (700, 5_000, ROWS):
        with pytest.raises(InvalidRequest) as raised:
            judge(features, label, cut=cut)
        told.append(str(raised.value))
    assert len(set(told)) == 1


def test_blocks_that_were_found_clean_are_judged_again_only_when_a_value_changes() -> None:
    features, label = market(1001)
    judge(features, label)
    known = set(_clean)
    judge(features, label)
    # Another fold begins in the middle: all blocks but its first are those of the first fold.
    fold = Foresight(COLUMNS, {"target": False}, longest_reach_ns=HORIZON * SECOND_NS, interval_ns=SECOND_NS)
    later = slice(3_000, ROWS)
    symbol, columns = np.zeros(ROWS, np.int64)[later], list(np.column_stack([features, label])[later].T)
    fold.add("fold-001/train", FilePiece(["BTCUSDT"], symbol, TIMES_NS[later], columns))
    fold.finish("fold-001/train")
    assert len(set(_clean) - known) == 1
    # One value of a block that was clean: the block is judged, and told.
    features[1_100:1_300, 2] = label[1_100:1_300]
    with pytest.raises(InvalidRequest, match="leakage: volatility of BTCUSDT in train from"):
        judge(features, label)


def test_rows_that_are_too_few_are_said_not_to_be_judged() -> None:
    features, label = market(1)
    found = Foresight(COLUMNS, {"target": False}, longest_reach_ns=HORIZON * SECOND_NS, interval_ns=SECOND_NS)
    columns = list(np.column_stack([features, label])[:300].T)
    found.add("test", FilePiece(["BTCUSDT"], np.zeros(300, np.int64), TIMES_NS[:300], columns))
    found.finish("test")
    assert found.document() == {"block_rows": LEAST_ROWS, "rows_judged": 0, "rows_too_few_to_judge": 300}


def test_a_spread_of_a_tick_is_no_copy_of_returns_of_a_tick() -> None:
    random = np.random.default_rng(2)
    mid = 100.0 + 0.1 * np.cumsum(random.integers(-1, 2, ROWS + HORIZON))
    now = mid[:ROWS]
    features, _ = market(2)
    features[:, 0] = now
    features[:, 2] = (now + 0.1) / now - 1.0
    features[:, 3] = np.where(random.random(ROWS) < 0.5, 0.1, -0.1) / now
    judge(features, mid[1 : ROWS + 1] / now - 1.0)


def test_a_price_of_nothing_is_judged_as_unknown_and_warns_of_no_division() -> None:
    features, label = market(5)
    features[4_000:4_002, 0] = 0.0
    assert judge(features, label).document()["rows_judged"] == ROWS


def test_correlations_are_those_of_each_pair_where_both_are_known() -> None:
    draw = np.random.default_rng(8)
    columns, targets = draw.standard_normal((900, 7)), draw.standard_normal((900, 3))
    columns[:, 1] = 3.0
    columns[:, 2] = 1e200 * (targets[:, 0] + 0.1 * columns[:, 2])
    columns[draw.random(900) < 0.3, 3] = np.nan
    columns[5:, 4] = np.nan
    columns[draw.random(900) < 0.2, 5] = np.inf
    targets[draw.random(900) < 0.1, 1] = np.nan
    # Far away where the target is not known.
    columns[np.isnan(targets[:, 1]), 6] = 1e6
    found = _correlations(columns, targets)
    for at, column in enumerate(columns.T):
        for number, target in enumerate(targets.T):
            is_known = np.isfinite(column) & np.isfinite(target)
            plain = 0.0
            if is_known.sum() >= 250 and column[is_known].min() < column[is_known].max():
                plain = np.corrcoef(column[is_known] / np.abs(column[is_known]).max(), target[is_known])[0, 1]
            assert found[at, number] == pytest.approx(plain, abs=1e-5)
    assert found[2, 0] > 0.99
