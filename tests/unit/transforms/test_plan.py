"""The generated kernel: one call a feature, one demand a source, rows in the order asked for."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from market.clock import SECOND_NS
from tests.laws.columns import NORMALISATIONS, every_feature
from tests.laws.messages import INSTRUMENT, MIDNIGHT_NS, book_message, tape, trade_message
from transforms.catalogue import FEATURES, feature_set
from transforms.engine import Engine
from transforms.kernel import compile_kernel
from transforms.normalisation import Normalisation
from transforms.plan import kernel_source
from transforms.row_part import COLUMNS_A_PART, row_parts
from transforms.state import CANDLE_FEATURES


def assigned_columns(source: str, first: int = 0) -> list[int]:
    """Columns that the source writes a value to besides NaN; first: what ``first`` stands for."""
    return [
        eval(ast.unparse(node.targets[0].slice), {"first": first})  # noqa: S307  # our own
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and ast.unparse(node.targets[0].value) == "values"
        and ast.unparse(node.value) != "NAN"
    ]


def test_the_kernel_of_the_whole_catalogue_writes_every_column_once() -> None:
    everything = every_feature()
    assert len(everything.columns) == len(FEATURES) + len(NORMALISATIONS)
    written = assigned_columns(kernel_source(everything))
    for part in row_parts(everything.columns):
        written += assigned_columns(part.source, part.first)
    assert sorted(written) == list(range(len(everything.columns)))


def test_each_feature_over_candles_has_a_kept_value_of_its_own() -> None:
    over_candles = [declared for declared in FEATURES.values() if {"candles", "bars"} & set(declared.inputs)]
    kept: list[int] = []
    for part in row_parts(list(FEATURES)):
        kept += [part.kept + int(at) for at in re.findall(r"st\.candles\.feature\[kept \+ (\d+)\] = ", part.source)]
    assert sorted(kept) == list(range(len(over_candles)))
    assert len(over_candles) <= CANDLE_FEATURES


def test_a_normalised_column_is_made_of_the_row_that_its_feature_was_just_given() -> None:
    source = kernel_source(feature_set("1", ["mid_price", "volume_3s"], [Normalisation("volume_3s", "z_score", 5)]))
    assert "remember(st.normalised[0], row_ns, values[1])" in source
    assert "values[2] = z_score(st.normalised[0], row_ns, values[1], 5)" in source


def test_a_set_gathers_only_what_its_features_take() -> None:
    names = ["volume_3s"]
    source = kernel_source(feature_set("1", names))
    assert "collect_" not in source[source.index("def compute_row") : source.index("def run")]
    [part] = row_parts(names)
    assert "trade_window(" in part.source
    assert "quote_window(" not in part.source


def test_a_window_that_several_features_take_is_summed_once() -> None:
    [part] = row_parts(["volume_1m", "volume_3s", "vwap_3s"])
    assert "trades_3 = trade_window(st.tiles, row_ns, 3)" in part.source
    assert "trades_60 = trade_window(st.tiles, row_ns, 60)" in part.source
    assert part.source.count(" = trade_window(") == 2


def test_equal_demands_are_asked_once() -> None:
    [part] = row_parts(["volume_3s", "vwap_3s", "signed_volume_3s"])
    assert part.source.count("= trade_reason(") == 1


def test_the_source_depends_on_the_set_alone() -> None:
    names = ["mid_price", "volume_3s"]
    assert kernel_source(feature_set("1", names)) == kernel_source(feature_set("1", names))
    assert kernel_source(feature_set("1", names)) != kernel_source(feature_set("1", names[::-1]))


def test_sets_share_the_parts_whose_columns_are_the_same_wherever_they_stand() -> None:
    [price, volume] = row_parts(["mid_price", "spread_abs", "volume_3s"])
    assert [part.name for part in row_parts(["volume_3s", "mid_price", "spread_abs"])] == [volume.name, price.name]
    [other] = row_parts(["spread_abs", "mid_price"])
    assert other.name != price.name


def test_a_part_has_no_more_columns_than_is_cheap_to_compile_again() -> None:
    parts = row_parts(list(FEATURES))
    assert {len({declared.group for declared in part.features}) for part in parts} == {1}
    assert max(len(part.features) for part in parts) == COLUMNS_A_PART


def test_columns_come_in_the_order_asked_for_with_their_groups_apart(kernel_cache: Path) -> None:
    chosen = feature_set("1", ["trade_count_3s", "mid_price", "volume_3s"])
    engine = Engine(compile_kernel(chosen, kernel_cache), INSTRUMENT, start_ns=MIDNIGHT_NS)
    engine.feed(
        tape(
            [
                book_message(MIDNIGHT_NS + 1, 2, bids=[(6_400_000, 5)], asks=[(6_400_010, 5)], is_snapshot=True),
                trade_message(MIDNIGHT_NS + SECOND_NS, (0, 6_400_000, 1_500), (1, 6_400_000, 500)),
            ]
        )
    )
    rows = engine.advance(MIDNIGHT_NS + 4 * SECOND_NS)
    assert rows.row_ns.tolist() == [MIDNIGHT_NS + i * SECOND_NS for i in (1, 2, 3, 4)]
    assert rows.values[2:].tolist() == [[2.0, 64_000.05, 2.0], [2.0, 64_000.05, 2.0]]
    assert np.isnan(rows.values[:2, 0]).all()
    assert [(group.name, group.indices) for group in chosen.groups] == [("price", (1,)), ("orderflow", (0, 2))]


def test_a_kernel_is_made_once_for_equal_sets(kernel_cache: Path) -> None:
    names = ["trade_count_3s", "mid_price", "volume_3s"]
    one = compile_kernel(feature_set("1", names), kernel_cache)
    assert compile_kernel(replace(feature_set("1", names)), kernel_cache) is one
    assert compile_kernel(feature_set("2", names), kernel_cache) is not one
