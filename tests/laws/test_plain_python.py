"""The kernel's own oracle: the same source without the compiler, and with its bounds checked, gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from market.events import Events
from tests.laws.replay import replay
from tests.laws.streams import (
    INSTRUMENT,
    MIDNIGHT_NS,
    SHORT_GAPS_NS,
    SHORT_KINDS,
    candle_tape,
    synthetic_tape,
    tape,
    tapes,
)
from transforms.engine import Engine
from transforms.plan import Kernel

ROOT: Final = Path(__file__).resolve().parents[2]
GENERATED: Final = 25
ROWS: Final = 25


@dataclass(frozen=True)
class Case:
    """Records to replay up to a row, from a checkpoint where there is one."""

    events: Events
    until_ns: int
    checkpoint: bytes | None = None


def generated_cases() -> list[Case]:
    """Drawn tapes of few seconds: without the compiler a row takes milliseconds."""
    cases: list[Case] = []

    @settings(max_examples=GENERATED, phases=[Phase.generate])
    @given(events=tapes(gaps_ns=SHORT_GAPS_NS, among=SHORT_KINDS, max_size=12))
    def collect(events: Events) -> None:
        cases.append(Case(events, int(events["recv_ns"].max()) + 2 * SECOND_NS))

    collect()
    return cases


def warm_case(kernel: Kernel) -> Case:
    """A day and more of candles, then minutes of a dense market: every window is full when the replay begins."""
    candles = candle_tape(seed=3, count=25 * 60)
    market = synthetic_tape(seed=4, messages=2_000, seconds=6 * 60)
    market["recv_ns"] += 25 * 60 * MINUTE_NS - 5 * MINUTE_NS
    market["event_ns"] = market["recv_ns"]
    market["seq"] += len(candles)
    both = np.concatenate([candles, market])
    events = tape([both[np.argsort(both["recv_ns"], kind="stable")]])
    begun_ns = MIDNIGHT_NS + DAY_NS + 60 * MINUTE_NS + 30 * SECOND_NS
    engine = Engine(kernel, INSTRUMENT)
    is_before = events["recv_ns"] < begun_ns
    engine.feed(events[is_before])
    engine.advance(begun_ns)
    return Case(events[~is_before], begun_ns + ROWS * SECOND_NS, engine.checkpoint())


@pytest.fixture(scope="module")
def cases(kernel: Kernel) -> list[Case]:
    warm = warm_case(kernel)
    dense = Case(synthetic_tape(seed=5, messages=400, seconds=20), MIDNIGHT_NS + 20 * SECOND_NS)
    return [*generated_cases(), warm, dense]


def replayed_elsewhere(cases: Sequence[Case], folder: Path, cache: Path, setting: str) -> list[bytes]:
    """The rows of the cases, computed in a fresh interpreter under a setting of numba."""
    for number, case in enumerate(cases):
        np.save(folder / f"{number:03}.events.npy", case.events)
        (folder / f"{number:03}.until").write_text(str(case.until_ns))
        if case.checkpoint is not None:
            (folder / f"{number:03}.checkpoint").write_bytes(case.checkpoint)
    subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.laws.replay", str(folder), str(cache)],
        cwd=ROOT,
        env={**os.environ, setting: "1"},
        check=True,
    )
    return [(folder / f"{number:03}.rows").read_bytes() for number in range(len(cases))]


def test_the_warm_case_knows_every_feature(kernel: Kernel) -> None:
    case = warm_case(kernel)
    assert case.checkpoint is not None
    engine = Engine(kernel, INSTRUMENT)
    engine.restore(case.checkpoint)
    engine.feed(case.events)
    unknown_rows = np.isnan(engine.advance(case.until_ns).values).sum(axis=0).tolist()
    # Its tickers announce neither a settlement nor a mark price.
    unknown = {name for name, count in zip(kernel.feature_set.columns, unknown_rows, strict=True) if count == ROWS}
    assert unknown <= {"time_to_funding", "mark_index_basis"}


@pytest.mark.parametrize(
    ("setting", "folder"), [("NUMBA_DISABLE_JIT", "kernels"), ("NUMBA_BOUNDSCHECK", "kernels-boundscheck")]
)
def test_another_way_to_run_the_kernel_gives_the_same_bytes(
    kernel: Kernel, cases: list[Case], kernel_cache: Path, tmp_path: Path, *, setting: str, folder: str
) -> None:
    # Numba's cache does not tell code with bounds checks from code without: they have folders of their own.
    elsewhere = replayed_elsewhere(cases, tmp_path, kernel_cache.parent / folder, setting)
    here = [replay(kernel, case.events, case.until_ns, case.checkpoint) for case in cases]
    assert [number for number, (one, other) in enumerate(zip(here, elsewhere, strict=True)) if one != other] == []
    assert len(cases) == GENERATED + 2
