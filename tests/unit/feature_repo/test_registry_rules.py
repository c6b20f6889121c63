"""The rules of a registry file: look-backs, sources, normalisation, and what is said of an entry that breaks one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.migrations import Migration
from feature_repo.registry_versions import (
    check_registry,
    config_text,
    load_registry_file,
)
from market.errors import InvalidRegistry
from tests.registry_files import MID, RSI, Entry, problem_of, without, written
from transforms.catalogue import FEATURES


@pytest.mark.parametrize("value", [False, None, "true", 1, "absent"])
def test_look_ahead_must_be_forbidden(folder: Path, value: object) -> None:
    entry = without(RSI, "lookahead_forbidden") if value == "absent" else RSI | {"lookahead_forbidden": value}
    assert problem_of(written(folder, entry)).startswith("rsi_14.lookahead_forbidden: must be true")


@pytest.mark.parametrize("window", ["14", "14 m", "m", "-14m", "1.5h", "1w", "14M", ["14m"], 14, ""], ids=repr)
def test_a_look_back_must_be_well_formed(folder: Path, window: object) -> None:
    assert problem_of(written(folder, RSI | {"lookback_window": window})).startswith("rsi_14.lookback_window: ")


def test_a_look_back_must_be_there(folder: Path) -> None:
    assert problem_of(written(folder, without(RSI, "lookback_window"))).startswith(
        "rsi_14.lookback_window: must be given"
    )


@pytest.mark.parametrize(
    ("window", "days", "is_within"),
    [("1d", 1, True), ("25h", 1, False), ("0s", 0, True), ("1s", 0, False), ("90d", 90, True), ("91d", None, False)],
)
def test_a_look_back_must_lie_within_its_days(folder: Path, window: str, days: int | None, *, is_within: bool) -> None:
    """Without days of its own an entry has the ninety there may be."""
    entry = without(RSI, "max_lookback_days") | ({} if days is None else {"max_lookback_days": days})
    path = written(folder, entry | {"lookback_window": window})
    if is_within:
        load_registry_file(path)
    else:
        assert "must be within max_lookback_days" in problem_of(path)


@pytest.mark.parametrize("days", [-1, 91, 10**30, 1.5, True, "1", None], ids=repr)
def test_days_of_look_back_must_be_a_whole_number_from_0_to_90(folder: Path, days: object) -> None:
    problem = problem_of(written(folder, RSI | {"max_lookback_days": days}))
    assert problem == f"rsi_14.max_lookback_days: must be 0 to 90, was {days!r}"


@pytest.mark.parametrize(
    ("name", "sources", "warnings"),
    [
        ("rsi_14", ["kline"], []),
        ("rsi_14", ["kline", "kline"], []),
        ("rsi_14", ["kline", "ticker"], ["ticker"]),
        ("funding_rate", ["ticker"], []),
        ("funding_rate", ["funding"], []),
        ("funding_rate", ["funding", "ticker"], []),
        ("time_of_day", [], []),
        ("time_of_day", ["kline"], ["kline"]),
        ("vwap_1m", ["trades"], []),
        ("has_position", ["position_manager"], []),
        ("has_position", ["position_manager", "orderbook"], ["orderbook"]),
        ("entry_price", ["position_manager"], []),
        ("entry_price", ["position_manager", "orderbook"], []),
    ],
)
def test_a_source_that_is_not_read_is_a_warning(
    folder: Path, name: str, sources: list[str], warnings: list[str]
) -> None:
    loaded = load_registry_file(written(folder, RSI | {"name": name, "input_sources": sources}))
    assert loaded.warnings == tuple(f"{name}.input_sources: {source} is declared but not read" for source in warnings)


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("rsi_14", []),
        ("rsi_14", ["trades"]),
        ("mid_price", ["kline"]),
        ("entry_price", ["orderbook"]),
        ("ema_20", "absent"),
    ],
)
def test_a_source_that_is_read_and_not_declared_is_an_error(folder: Path, name: str, sources: object) -> None:
    entry = RSI | {"name": name, "input_sources": sources}
    path = written(folder, without(entry, "input_sources") if sources == "absent" else entry)
    assert problem_of(path).startswith(f"{name}.input_sources: must name ")


@pytest.mark.parametrize("source", ["news", "klines", 5, None, ["kline"], {"source": "kline"}], ids=repr)
def test_a_source_that_nobody_knows_is_an_error(folder: Path, source: object) -> None:
    problem = problem_of(written(folder, RSI | {"input_sources": ["kline", source]}))
    assert problem.startswith("rsi_14.input_sources: must be among funding, kline, ")
    assert problem.endswith(f"was {source!r}")


@pytest.mark.parametrize("sources", ["kline", None, {"kline": True}, 5], ids=repr)
def test_sources_must_be_a_list(folder: Path, sources: object) -> None:
    problem = problem_of(written(folder, RSI | {"input_sources": sources}))
    assert problem == f"rsi_14.input_sources: must be a list, was {sources!r}"


@pytest.mark.parametrize(
    ("declared", "column"),
    [
        ({"type": "z_score", "window": "5m"}, "rsi_14_z_5m"),
        ({"type": "min_max", "window": "90s"}, "rsi_14_mm_90s"),
        ({"type": "z_score", "window": "511s"}, "rsi_14_z_511s"),
    ],
)
def test_a_normalised_column_stands_after_all_features(folder: Path, declared: Entry, column: str) -> None:
    loaded = load_registry_file(written(folder, RSI | {"normalization": declared}, MID))
    assert loaded.feature_set.columns == ("rsi_14", "mid_price", column)
    assert loaded.feature_set.groups[-1].columns == (column,)


@pytest.mark.parametrize("declared", ["none", None])
def test_a_feature_may_go_without_a_normalised_column(folder: Path, declared: str | None) -> None:
    assert load_registry_file(written(folder, RSI | {"normalization": declared})).feature_set.columns == ("rsi_14",)


@pytest.mark.parametrize(
    "declared",
    [
        *("z_score", 5, [], {}, {"type": "z_score"}, {"window": "5m"}, {"type": "rank", "window": "5m"}),
        *({"type": ["z_score"], "window": "5m"}, {"type": {"z_score": 1}, "window": "5m"}),
        *({"type": "z_score", "window": "5"}, {"type": "z_score", "window": "0s"}, {"type": "z_score", "window": None}),
        {"type": "z_score", "window": "5m", "ddof": 1},
    ],
    ids=repr,
)
def test_a_normalisation_must_be_none_or_a_method_with_its_window(folder: Path, declared: object) -> None:
    assert problem_of(written(folder, RSI | {"normalization": declared})).startswith("rsi_14.normalization")


def test_a_window_of_normalisation_is_bounded(folder: Path) -> None:
    path = written(folder, RSI | {"normalization": {"type": "z_score", "window": "512s"}})
    assert problem_of(path) == "rsi_14_z_512s: must have a window of less than 512 s, was 512 s"


yaml_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(("kline", "5m"))
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=5,
)


@given(changes=st.dictionaries(st.sampled_from([*RSI, "surprise"]), yaml_values, max_size=4))
def test_whatever_an_entry_holds_it_loads_or_is_an_invalid_registry(
    tmp_path_factory: pytest.TempPathFactory, changes: Entry
) -> None:
    path = written(tmp_path_factory.getbasetemp(), RSI | changes)
    try:
        loaded = load_registry_file(path)
    except InvalidRegistry:
        return
    assert loaded.feature_set.columns[0] in FEATURES


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ("rm -rf", "migration: must be a mapping of rename, drop, default, was 'rm -rf'"),
        ({"run": "x"}, "migration: must be a mapping of rename, drop, default, was {'run': 'x'}"),
        (
            {"rename": {"old": "mid_price"}},
            "migration.rename.old: must become a column of this version, was 'mid_price'",
        ),
        ({"rename": {"rsi_14": "rsi_14"}}, "migration.rename.rsi_14: must not be a column of this version"),
        ({"rename": [1]}, "migration.rename: must be new names by old ones, was [1]"),
        ({"drop": ["rsi_14"]}, "migration.drop: must name no column of this version, was rsi_14"),
        ({"drop": {"a": 1}}, "migration.drop: must be a list of names, was {'a': 1}"),
        (
            {"default": {"rsi_14": float("nan")}},
            "migration.default.rsi_14: must be a finite number for a column of this version, was nan",
        ),
        ({"default": 3}, "migration.default: must be numbers by column, was 3"),
    ],
)
def test_a_migration_is_declared_within_its_rules(declared: object, problem: str) -> None:
    config = {"version": "9.0.0", "features": [RSI], "migration": declared}
    with pytest.raises(InvalidRegistry) as caught:
        check_registry(config, Path("9.0.0.yaml"))
    assert caught.value.problems == (problem,)


def test_a_migration_is_kept_as_it_was_declared() -> None:
    declared = {"rename": {"RSI": "rsi_14"}, "drop": ["old"], "default": {"rsi_14": 50}}
    config = {"version": "9.0.0", "features": [RSI], "schema_version": "1", "migration": declared}
    found = check_registry(config, Path("9.0.0.yaml"))
    assert (found.schema_version, found.migration) == ("1", Migration({"RSI": "rsi_14"}, ("old",), {"rsi_14": 50.0}))
    assert yaml.safe_load(config_text(config)) == config
