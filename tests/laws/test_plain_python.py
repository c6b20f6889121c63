"""The kernel's own oracle: the same source without the compiler, and with its bounds checked, gives the same rows."""

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

from market.clock import MINUTE_NS, SECOND_NS
from market.events import Events
from tests.laws.columns import every_feature, sampled_features
from tests.laws.markets import WARM_NS, dense_market, warm_market
from tests.laws.messages import INSTRUMENT, MIDNIGHT_NS
from tests.laws.replay import COLUMNS, replay
from tests.laws.running import assert_same, reasons_of
from tests.laws.streams import SHORT_GAPS_NS, SHORT_KINDS, tapes
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """Records to replay up to a row, from a checkpoint where there is one."""

    events: Events
    until_ns: int
    checkpoint: bytes | None = None


def drawn_cases(count: int) -> list[Case]:
    """Drawn tapes of few seconds: without the compiler a row takes milliseconds."""
    cases: list[Case] = []

    @settings(max_examples=count, phases=[Phase.generate])
    @given(events=tapes(gaps_ns=SHORT_GAPS_NS, among=SHORT_KINDS, max_size=12))
    def collect(events: Events) -> None:
        cases.append(Case(events, int(events["recv_ns"].max()) + 2 * SECOND_NS))

    collect()
    return cases


def replayed_elsewhere(
    cases: Sequence[Case], folder: Path, cache: Path, columns: str, setting: str
) -> list[FeatureRows]:
    """The rows of the cases, computed in a fresh interpreter under a setting of numba."""
    for number, case in enumerate(cases):
        np.save(folder / f"{number:03}.events.npy", case.events)
        (folder / f"{number:03}.until").write_text(str(case.until_ns))
        if case.checkpoint is not None:
            (folder / f"{number:03}.checkpoint").write_bytes(case.checkpoint)
    subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.laws.replay", str(folder), str(cache), columns],
        cwd=ROOT,
        env={**os.environ, setting: "1"},
        check=True,
    )
    return [rows_of(folder / f"{number:03}.npz", COLUMNS[columns]()) for number in range(len(cases))]


def rows_of(path: Path, feature_set: FeatureSet) -> FeatureRows:
    with np.load(path) as written:
        return FeatureRows(INSTRUMENT.symbol, feature_set, **written)


def of_columns(rows: FeatureRows, chosen: FeatureSet) -> FeatureRows:
    """The columns and groups of another set: they do not depend on what else a set holds."""
    columns = [rows.feature_set.columns.index(name) for name in chosen.columns]
    names = [group.name for group in rows.feature_set.groups]
    groups = [names.index(group.name) for group in chosen.groups]
    reasons = reasons_of(rows)[:, columns]
    return FeatureRows(rows.symbol, chosen, rows.row_ns, rows.values[:, columns], rows.status[:, groups], reasons)


def test_without_the_compiler_every_column_has_the_same_bits(
    kernel: Kernel, warm_checkpoint: bytes, kernel_cache: Path, tmp_path: Path
) -> None:
    later = warm_market()
    warm = Case(later[later["recv_ns"] >= WARM_NS], WARM_NS + 35 * SECOND_NS, warm_checkpoint)
    dense = Case(dense_market(seed=5, messages=400, seconds=20), MIDNIGHT_NS + 20 * SECOND_NS)
    cases = [*drawn_cases(25), warm, dense]
    elsewhere = replayed_elsewhere(cases, tmp_path, kernel_cache, "every", "NUMBA_DISABLE_JIT")
    for case, other in zip(cases, elsewhere, strict=True):
        assert_same(replay(kernel, case.events, case.until_ns, case.checkpoint), other)
    assert len(cases) == 27


@pytest.mark.soak
def test_with_bounds_checked_no_index_is_out_of_them_and_the_rows_are_the_same(
    kernel: Kernel, kernel_cache: Path, tmp_path: Path
) -> None:
    cases = [*drawn_cases(50), Case(warm_market(), WARM_NS + 2 * MINUTE_NS)]
    # Numba's cache does not tell code with bounds checks from code without: they have folders of their own.
    cache = kernel_cache.parent / "kernels-boundscheck"
    elsewhere = replayed_elsewhere(cases, tmp_path, cache, "sampled", "NUMBA_BOUNDSCHECK")
    for case, other in zip(cases, elsewhere, strict=True):
        assert_same(of_columns(replay(kernel, case.events, case.until_ns, None), other.feature_set), other)
    assert [group.name for group in sampled_features().groups] == [group.name for group in every_feature().groups]
