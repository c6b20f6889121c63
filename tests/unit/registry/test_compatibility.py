"""What a change of version breaks: every difference is told, once, and nothing that is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.migrations import Migration
from feature_repo.registry_versions import SHIPPED_VERSIONS, check_registry, load_registry_version
from registry.compatibility import compare
from registry.definition import ColumnDefinition, Definition, define, read_definition

MID: Final = ColumnDefinition(
    name="mid",
    group="price",
    group_fingerprint="g",
    source="orderbook",
    code="c",
    parameters="window 0 s",
    horizon_s=0.0,
    unit="quote",
    low=0.0,
    high=None,
)
SPREAD: Final = replace(MID, name="spread", code="d", horizon_s=60.0)
VOLUME: Final = replace(MID, name="volume", code="e", source="trades", group="orderflow")


def of(*columns: ColumnDefinition, version: str = "1.0.0") -> Definition:
    return Definition(version=version, feature_set="f", columns=columns)


def test_the_same_columns_break_nothing() -> None:
    found = compare(of(MID, SPREAD), of(MID, SPREAD))
    assert (found.warnings, found.breaking_changes, found.groups_to_compute) == ((), (), ())


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (replace(MID, code="other"), "mid: changed logic: its function is another"),
        (replace(MID, parameters="window 3 s"), "mid: changed parameters: window 3 s, was window 0 s"),
        (replace(MID, group_fingerprint="h"), "mid: changed logic: group price is computed by other code"),
        (replace(MID, unit="base"), "mid: changed unit: base, was quote"),
        (replace(MID, high=1.0), "mid: changed range: 0 to 1, was 0 to unbounded"),
        (SPREAD, "mid: removed"),
        (replace(MID, name="middle"), "mid: renamed to middle"),
    ],
)
def test_what_breaks_a_reader_is_said_in_words(now: ColumnDefinition, words: str) -> None:
    assert compare(of(MID), of(now)).breaking_changes == (words,)


def test_what_a_reader_by_name_need_not_be_changed_for_is_a_warning() -> None:
    found = compare(of(MID, SPREAD), of(SPREAD, VOLUME, MID, version="2.0.0"))
    assert found.breaking_changes == ()
    assert found.warnings == (
        "order: columns that both versions share are in another order, which readers by position notice",
        "sources: reads trades, which 1.0.0 does not",
    )
    (longer,) = compare(of(MID), of(MID, SPREAD)).warnings
    assert longer.startswith("horizon: 60 s, was 0 s")


def test_one_of_two_that_are_alike_is_not_guessed_to_be_the_renamed_one() -> None:
    found = compare(of(MID), of(replace(MID, name="a"), replace(MID, name="b")))
    assert (found.removed, found.renamed) == (("mid",), ())


def test_a_declared_renaming_is_followed_and_what_changed_besides_is_told() -> None:
    middle = replace(MID, name="middle", code="other")
    found = compare(of(MID, SPREAD), of(middle), Migration({"mid": "middle"}, ("spread", "x"), {"middle": 1.0}))
    assert found.renamed == (("mid", "middle"),)
    assert found.breaking_changes == (
        "spread: removed, as its migration declares",
        "mid: renamed to middle",
        "middle: changed logic: its function is another",
    )
    assert found.warnings == ("migration.drop.x: has no effect, 1.0.0 has no such column",)


columns = st.builds(
    ColumnDefinition,
    name=st.sampled_from("abcdefgh"),
    group=st.sampled_from(["price", "orderflow"]),
    group_fingerprint=st.sampled_from(["g", "h"]),
    source=st.sampled_from(["orderbook", "trades", "none"]),
    code=st.sampled_from("xyz"),
    parameters=st.sampled_from(["p", "q"]),
    horizon_s=st.sampled_from([0.0, 60.0]),
    unit=st.just("1"),
    low=st.sampled_from([None, 0.0]),
    high=st.none(),
)
definitions = st.lists(columns, min_size=1, unique_by=lambda column: column.name).map(lambda found: of(*found))


@given(definitions, definitions)
def test_every_column_is_accounted_for_and_what_is_silent_is_the_same(before: Definition, after: Definition) -> None:
    found = compare(before, after)
    old, new = dict(found.renamed), {now for _, now in found.renamed}
    kept = set(before.names) & set(after.names)
    assert sorted([*found.removed, *old, *kept]) == sorted(before.names)
    assert sorted([*found.added, *new, *kept]) == sorted(after.names)
    if not found.breaking_changes:
        columns_after = {column.name: column for column in after.columns}
        for column in before.columns:
            now = columns_after[column.name]
            assert (column.code, column.parameters, column.low) == (now.code, now.parameters, now.low)
            assert column.group != now.group or column.group_fingerprint == now.group_fingerprint
    in_order = [name for name in after.names if name in kept]
    if not found.renamed:
        assert found.is_reordered == (in_order != [name for name in before.names if name in kept])


@given(definitions, definitions)
def test_back_again_is_the_other_way_round(before: Definition, after: Definition) -> None:
    there, back = compare(before, after), compare(after, before)
    assert (set(there.added), set(there.removed)) == (set(back.removed), set(back.added))
    assert {(now, old) for old, now in there.renamed} == set(back.renamed)
    assert (there.sources_added, there.is_reordered) == (back.sources_removed, back.is_reordered)


@given(definitions)
def test_a_definition_is_read_as_it_was_kept(definition: Definition) -> None:
    assert read_definition(definition.document()) == definition
    assert compare(definition, definition).document()["breaking_changes"] == ()


def test_the_shipped_versions_grow_by_columns_but_for_the_minimal_ones() -> None:
    by_version = {version: define(load_registry_version(version)) for version in SHIPPED_VERSIONS}
    assert compare(by_version["1.0.0"], by_version["1.1.0"]).breaking_changes == ()
    assert compare(by_version["1.3.0"], by_version["1.4.0"]).breaking_changes == ()
    assert len(compare(by_version["1.1.0"], by_version["1.2.0"]).removed) == 45
    assert len(by_version["2.0.0"].columns) == 168


def test_a_normalised_column_is_defined_by_its_window() -> None:
    def normalised(window: str) -> Definition:
        entry: dict[str, Any] = {
            "name": "mid_price",
            "input_sources": ["orderbook"],
            "lookback_window": "1m",
            "lookahead_forbidden": True,
            "normalization": {"type": "z_score", "window": window},
        }
        return define(check_registry({"version": "9.0.0", "features": [entry]}, Path("9.0.0.yaml")))

    one, five = normalised("1m"), normalised("5m")
    assert (one.names, one.horizon_s) == (("mid_price", "mid_price_z_1m"), 60.0)
    assert compare(one, five).breaking_changes == ("mid_price_z_1m: removed",)
    assert compare(one, five).groups_to_compute == ("normalised_v9_0_0",)
