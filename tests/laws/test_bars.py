"""Bars of an interval: exactly what the formulas say, and never of a candle that has not ended."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from market.clock import HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to
from tests.fed_engine import Messages, fed_engine
from tests.laws.agreement import assert_agrees
from tests.oracle import writing
from tests.oracle.messages import oracle_rows
from transforms.catalogue import GROUPS, feature_set
from transforms.kernel import Kernel, compile_kernel
from transforms.status import GAP, OK, STALE

MIDNIGHT_NS: Final = 1_733_011_200 * SECOND_NS
GROUP_MINUTES: Final = {"bars_5m": 5, "bars_15m": 15, "bars_1h": 60}
OFFS_NS: Final = (-1_500 * MILLISECOND_NS, -1, 0, 1, 400 * MILLISECOND_NS, SECOND_NS, 90 * SECOND_NS)
"""Of a candle's arrival from its end."""


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    """The kernel of every feature of bars."""
    names = [declared.name for group in GROUP_MINUTES for declared in GROUPS[group]]
    return compile_kernel(feature_set("bars", names), kernel_cache)


def bar(recv_ns: int, start_ns: int, minutes: int, close: int, *, confirm: bool = True) -> tuple[int, bytes]:
    opened = close - 3 + recv_ns % 7
    texts = [f"{tick / 10:.1f}" for tick in (opened, max(opened, close) + 2, min(opened, close) - 1, close)]
    return recv_ns, writing.kline(recv_ns, start_ns, [*texts, str(1 + close % 13)], confirm=confirm, minutes=minutes)


def drawn_bars(seed: int, hours: int, *, lost: float) -> Messages:
    """Of every interval, a share lost, some sent again, some confirmed before their end."""
    draws = random.Random(seed)
    messages: list[tuple[int, bytes]] = []
    for minutes in (3, *GROUP_MINUTES.values()):
        for start_ns in range(MIDNIGHT_NS, MIDNIGHT_NS + hours * HOUR_NS, minutes * MINUTE_NS):
            end_ns = start_ns + minutes * MINUTE_NS
            if draws.random() >= lost:
                messages.append(bar(end_ns + draws.choice(OFFS_NS), start_ns, minutes, draws.randint(4_900, 5_100)))
            if draws.random() < 0.1:
                at_ns = start_ns + draws.randrange(end_ns - start_ns)
                messages.append(bar(at_ns, start_ns, minutes, 5_000, confirm=False))
            if draws.random() < 0.05:
                messages.append(bar(end_ns + 2 * MINUTE_NS, start_ns - minutes * MINUTE_NS, minutes, 5_050))
    return sorted(messages)


@pytest.mark.parametrize(("seed", "lost"), [(0, 0.0), (1, 0.03), (2, 0.1)])
def test_rows_of_bars_are_exactly_what_the_formulas_say(kernel: Kernel, seed: int, lost: float) -> None:
    messages = drawn_bars(seed, 30, lost=lost)
    first_ns, until_ns = messages[0][0], messages[-1][0] + 5 * SECOND_NS
    around = {floor_to(recv_ns, SECOND_NS) + off * SECOND_NS for recv_ns, _ in messages for off in (0, 1, 2, 3)}
    late = [at for at in around if first_ns + 29 * HOUR_NS < at < until_ns]
    chosen = np.array(sorted({*late, *random.Random(seed).sample(sorted(around)[10:], 150)}), np.int64)
    rows = fed_engine(kernel, messages).rows_at(chosen, until_ns)
    for index, expected in enumerate(oracle_rows(messages, chosen.tolist())):
        assert_agrees(rows, index, expected)
    assert lost or (~np.isnan(rows.values)).any(axis=0).all(), "every feature has had a value"


@pytest.mark.parametrize(("group", "minutes"), GROUP_MINUTES.items())
def test_a_candle_that_is_confirmed_before_its_end_is_used_from_its_end_on(
    kernel: Kernel, group: str, minutes: int
) -> None:
    interval_ns = minutes * MINUTE_NS
    ends = [MIDNIGHT_NS + at * interval_ns for at in range(1, 5)]
    early_ns = ends[-1] - 3 * SECOND_NS
    messages = [bar(end_ns + 1, end_ns - interval_ns, minutes, 5_000 + at) for at, end_ns in enumerate(ends[:-1])]
    messages.append(bar(early_ns, ends[-1] - interval_ns, minutes, 4_800))
    engine = fed_engine(kernel, sorted(messages), start_ns=MIDNIGHT_NS - interval_ns)
    body = kernel.feature_set.columns.index(f"returns_1_bars_{group.removeprefix('bars_')}")
    chosen = np.arange(early_ns, ends[-1] + 2 * SECOND_NS, SECOND_NS)
    rows = engine.rows_at(chosen, int(chosen[-1]))
    before = rows.row_ns < ends[-1]
    assert rows.values[before, body] == pytest.approx(5_002 / 5_001 - 1)
    assert rows.values[~before, body] == pytest.approx(4_800 / 5_002 - 1)
    assert before.sum() == 3


def test_a_hole_is_not_bridged_and_what_is_old_is_no_bar(kernel: Kernel) -> None:
    ends = [MIDNIGHT_NS + at * 5 * MINUTE_NS for at in (1, 2, 3, 5, 6)]
    messages = [bar(end_ns + 1, end_ns - 5 * MINUTE_NS, 5, 5_000 + at) for at, end_ns in enumerate(ends)]
    engine = fed_engine(kernel, messages, start_ns=MIDNIGHT_NS - 24 * HOUR_NS)
    columns = [kernel.feature_set.columns.index(f"returns_{n}_bars_5m") for n in (1, 3)]
    asked = np.array([ends[2], ends[2] + 11 * MINUTE_NS, ends[4]]) + SECOND_NS
    rows = engine.rows_at(asked, int(asked[-1]))
    assert rows.reasons is not None
    assert rows.reasons[:, columns].tolist() == [[OK, GAP], [GAP, GAP], [OK, GAP]]
    assert rows.status[:, 0].tolist() == [OK, OK, OK]
    silent = engine.rows_at(np.array([ends[4] + 13 * MINUTE_NS]), ends[4] + 13 * MINUTE_NS)
    assert silent.reasons is not None
    assert silent.reasons[0, columns].tolist() == [STALE, STALE]
    assert silent.status[0, 0] == STALE
