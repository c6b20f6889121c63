"""``verify parity`` against the oracle: rows of real recordings are exactly right, a planted formula is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.registry_versions import load_registry_version
from market.events import EVENT
from quality.parity import OracleCheck, Parity
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from tests.laws.columns import every_feature
from tests.played import Played
from training_sets.builds import oracle_parity
from training_sets.builds.oracle_parity import OracleChoice
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from transforms.catalogue import FEATURES, feature_set
from transforms.features import price
from transforms.jit import jit
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet
from transforms.state import STATE

LINEAR = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
MIDNIGHT = "reencoded/BTCUSDT_20240718-19.jsonl.gz"
Array = npt.NDArray[Any]
SHORT = ("mid_price", "spread_abs", "vwap_3s", "volume_3s")


def verified(played: Played, choice: OracleChoice | None) -> Parity:
    return verify_parity(RawHistory.of(RawData(played.raw)), FeatureLog(played.features), played.kernel, oracle=choice)


def test_drawn_rows_of_a_recording_are_exactly_what_the_formulas_say(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path
) -> None:
    """Of every feature; what the oracle cannot check is said."""
    chosen = every_feature()
    played = Played(tmp_path, compile_kernel(chosen, kernel_cache), recorded_data / LINEAR)
    parity = verified(played, OracleChoice(5, seed=1))
    found = parity.oracle
    assert parity.is_exact
    assert (found.rows, found.columns, found.mismatched) == (2 * 5, len(FEATURES), ())
    assert [each.partition(": a normalised column")[0] for each in found.not_checked] == [
        *chosen.columns[len(FEATURES) :]
    ]
    assert verified(played, None).oracle == OracleCheck()


def test_drawn_rows_of_both_days_of_a_recording_over_midnight_are_exactly_right(
    tmp_path: Path, kernel_cache: Path, recorded_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load_registry_version("1.0.0").feature_set
    played = Played(tmp_path, compile_kernel(chosen, kernel_cache), recorded_data / MIDNIGHT)
    assert verified(played, OracleChoice(2)).oracle == OracleCheck(2 * 2, len(chosen.columns))
    monkeypatch.setattr(oracle_parity, "MOST_RECORDS", 3)
    assert verified(played, OracleChoice(2)).oracle.not_checked == (
        "BTCUSDT 2024-07-18: 2 rows, made of more than 3 records of a source",
        "BTCUSDT 2024-07-19: 2 rows, made of more than 3 records of a source",
    )


def halved_by_its_caller(chosen: FeatureSet, kernel_cache: Path, _folder: Path, _patch: pytest.MonkeyPatch) -> Kernel:
    """The right kernel, whose spread is halved as it comes out: nothing has to be compiled."""
    kernel = compile_kernel(chosen, kernel_cache)

    def run(state: Array, records: Array, until_ns: int, due_ns: Array, values: Array, *rest: Array) -> int:
        # What is not compiled is given its records by attribute names.
        plain = state.view(STATE, np.ndarray), records.view(EVENT, np.ndarray)
        applied = kernel.run(*plain, until_ns, due_ns, values, *rest)
        values[:, chosen.columns.index("spread_abs")] /= 2
        return applied

    return replace(kernel, run=run)


def compiled_wrong(chosen: FeatureSet, _cache: Path, folder: Path, patch: pytest.MonkeyPatch) -> Kernel:
    right: Callable[[Any, Any], float] = price.spread_abs

    @jit
    def spread_from_the_mid(book: Any, scale: Any) -> float:  # noqa: ANN401  # records of the kernel's state
        return right(book, scale) / 2

    patch.setattr(price, "spread_abs", spread_from_the_mid)
    # In another order: the columns' part must be one that the process has not imported with the right formula.
    return compile_kernel(feature_set("0.0.87", chosen.columns[::-1]), folder)


@pytest.mark.parametrize("planted", [halved_by_its_caller, pytest.param(compiled_wrong, marks=pytest.mark.soak)])
def test_a_formula_that_is_wrong_in_the_kernel_agrees_with_itself_and_not_with_the_oracle(
    tmp_path: Path,
    kernel_cache: Path,
    recorded_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    planted: Callable[[FeatureSet, Path, Path, pytest.MonkeyPatch], Kernel],
) -> None:
    kernel = planted(feature_set("0.0.1", SHORT), kernel_cache, tmp_path / "kernels", monkeypatch)
    played = Played(tmp_path / "out", kernel, recorded_data / LINEAR)
    assert verified(played, None).is_exact
    found = verified(played, OracleChoice(3, seed=7))
    assert (found.mismatched, found.missing, found.extra, found.is_exact) == (0, 0, 0, False)
    assert found.oracle.rows == len(found.oracle.mismatched) == 6
    for wrong in found.oracle.mismatched:
        assert wrong.feature == "spread_abs"
        assert float(wrong.served) * 2 == pytest.approx(float(wrong.exact), rel=1e-12)
    assert [wrong.symbol for wrong in found.oracle.mismatched] == ["BTCUSDT"] * 3 + ["ETHUSDT"] * 3
    assert verified(played, OracleChoice(3, seed=7)).oracle == found.oracle
    assert verified(played, OracleChoice(3, seed=8)).oracle != found.oracle
