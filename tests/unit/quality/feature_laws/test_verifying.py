"""The laws find what is planted, accuse nobody who keeps them, and show a breach by a small table."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.registry_versions import load_registry_version
from quality.feature_laws.cheats import CHEATS
from quality.feature_laws.generated import INSTRUMENT, generated_stream, generated_tables
from quality.feature_laws.laws import does_not_depend_on_the_start, does_not_see_the_future
from quality.feature_laws.of_tables import TableFeatures
from quality.feature_laws.streamed import StreamedFeatures
from quality.feature_laws.verifying import Verdict, verify_group
from transforms.catalogue import FEATURES, feature_set
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.kernel import compile_kernel
from transforms.table_feature import TableFeature, Window
from transforms.table_group import TableGroup

Series = npt.NDArray[np.float64]


def group_of(function: Callable[[Series], float], rows: int = 2, high: float = math.inf) -> TableGroup:
    feature = TableFeature(
        "tried", "g", function, {"close": Window("t", "close", rows)}, {}, "1", -math.inf, high, "", "", ""
    )
    return TableGroup("g", (feature,), (), 1, 1)


def verdict_of(group: TableGroup, *, seed: int = 1, cheats: int = 1, days: int = 40) -> Verdict:
    tables = {"generated": generated_tables(group, seed, days=days, keys=3)}
    return verify_group(group.name, TableFeatures(group), tables, seed=seed, cheats=cheats)


def test_a_clean_group_is_not_accused_and_each_kind_of_cheat_is_caught() -> None:
    verdict = verdict_of(group_of(lambda close: float(close[-1] - close[-2])))
    assert verdict.is_clean
    assert set(verdict.planted) == set(CHEATS)
    assert sum(verdict.planted.values()) >= 9  # where nothing is NaN, a back-fill changes nothing
    assert verdict.missed == ()
    assert verdict.caught == verdict.planted


def test_a_feature_that_reaches_for_what_is_beyond_its_window_is_shown_by_a_small_table() -> None:
    """Of an array that is a view, the base holds all that the table has."""

    def cheat(close: Series) -> float:
        return float(np.nanmax(np.asarray(close.base)))

    verdict = verdict_of(group_of(cheat))
    assert not verdict.is_clean
    assert {each.breach.law for each in verdict.breaches} & {"future", "chunk", "start"}
    smallest = min(verdict.breaches, key=lambda each: each.parts)
    assert smallest.parts < smallest.of_parts / 2
    assert "tried of K" in str(smallest.breach)


def test_a_feature_that_leaves_its_range_or_keeps_a_count_is_found() -> None:
    kept = [0.0]

    def counting(close: Series) -> float:
        kept[0] += 1.0
        return kept[0] + float(close[-1])

    laws = {each.breach.law for each in verdict_of(group_of(counting)).breaches}
    assert "again" in laws
    [breach] = verdict_of(group_of(lambda close: float(close[-1]), high=100.0)).breaches
    assert breach.breach.law == "range"
    assert breach.parts <= 2


def test_groups_of_moments_and_of_sections_keep_the_laws() -> None:
    verdict = verdict_of(TABLE_GROUPS["macro_features"], days=60)
    assert verdict.is_clean
    assert verdict.missed == ()


def test_a_row_that_time_alone_makes_after_the_last_known_one_is_no_look_into_the_future() -> None:
    group = TABLE_GROUPS["sentiment_features"]
    stream = generated_tables(group, 3, days=20, keys=3)
    for seed in range(6):
        assert does_not_see_the_future(TableFeatures(group), stream, np.random.default_rng(seed)) is None


def test_a_start_between_two_snapshots_of_the_book_has_the_book_that_there_was(kernel_cache: Path) -> None:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    subject, stream = StreamedFeatures(kernel, INSTRUMENT, kernel_cache), generated_stream(2, minutes=4)
    for seed in range(3):
        assert does_not_depend_on_the_start(subject, stream, np.random.default_rng(seed)) is None
    part, agrees = subject.from_start(stream, int(subject.rows(stream).known_ns[60]))
    at = [column.name for column in subject.columns].index("mid_price")
    assert not np.isnan(part.values[agrees[:, at], at]).all()


@pytest.mark.soak
def test_of_a_hundred_planted_cheats_at_least_99_are_caught_and_of_fifty_clean_features_none_accused(
    kernel_cache: Path,
) -> None:
    planted = caught = clean = 0
    missed: list[str] = []
    for group in TABLE_GROUPS.values():
        days = max(60, max(each.rows for each in group.features) + 60)
        verdict = verdict_of(group, seed=3, cheats=1, days=days)
        assert verdict.is_clean, verdict.breaches
        clean += len(group.columns)
        planted, caught = planted + sum(verdict.planted.values()), caught + sum(verdict.caught.values())
        missed += verdict.missed
    names = [name for name, each in FEATURES.items() if each.group in {"price", "orderbook", "orderflow"}][:20]
    kernel = compile_kernel(feature_set("9.9.9", names), kernel_cache)
    kernel.warm_up()
    subject = StreamedFeatures(kernel, INSTRUMENT, kernel_cache)
    verdict = verify_group("streamed", subject, {"generated": generated_stream(2, minutes=9)}, seed=2, cheats=6)
    assert verdict.is_clean, verdict.breaches
    clean += len(names)
    planted, caught = planted + sum(verdict.planted.values()), caught + sum(verdict.caught.values())
    missed += verdict.missed
    assert clean >= 50
    assert planted >= 100
    assert caught >= 0.99 * planted, missed
