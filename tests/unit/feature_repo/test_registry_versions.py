"""Registry versions: what a file must keep, and that all it breaks is said at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.migrations import Migration
from feature_repo.registry_versions import (
    ALIASES,
    LATEST,
    SHIPPED_FOLDER,
    check_registry,
    config_text,
    load_registry_file,
    load_registry_version,
    registry_versions,
    sound_versions,
    version_key,
)
from market.errors import InvalidRegistry, NotFound
from transforms.catalogue import FEATURES, GROUPS

RELEASED: Final = {
    "1.0.0": "5c60942e42c95f4c",
    "1.1.0": "b30c38e8185221c3",
    "1.2.0": "d7587da584422147",
    "1.3.0": "9b6465bc4ddcb56b",
    "1.4.0": "8effa1cf44cee7a9",
    "2.0.0": "e8d282058498fb84",
    "2.1.0": "997aa88324264149",
}
"""The files that were released, by the first digits of their SHA-256. A line comes with a release and stays."""
SHIPPED: Final = tuple(RELEASED)
Entry = dict[str, Any]

RSI: Final[Entry] = {
    "name": "rsi_14",
    "input_sources": ["kline"],
    "lookback_window": "14m",
    "lookahead_forbidden": True,
    "max_lookback_days": 1,
    "data_sources": [{"source": "kline", "timestamp_required": True}],
    "normalization": "none",
}
MID: Final[Entry] = RSI | {"name": "mid_price", "input_sources": ["orderbook"], "lookback_window": "0s"}


def without(entry: Entry, *names: str) -> Entry:
    return {name: value for name, value in entry.items() if name not in names}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def written(folder: Path, *entries: object, version: object = "9.0.0") -> Path:
    path = folder / "9.0.0.yaml"
    path.write_text(yaml.safe_dump({"version": version, "features": list(entries)}))
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidRegistry) as caught:
        load_registry_file(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


def problem_of(path: Path) -> str:
    [problem] = problems_of(path)
    return problem


@pytest.mark.parametrize("version", SHIPPED)
def test_a_shipped_version_loads_without_a_warning(version: str) -> None:
    loaded = load_registry_version(version)
    assert loaded.version == version
    assert loaded.warnings == ()


def test_a_released_version_never_changes() -> None:
    files = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in SHIPPED_FOLDER.glob("*.yaml")}
    changed = sorted(version for version in RELEASED if files.get(version) != RELEASED[version])
    assert changed == [], f"{', '.join(changed)}: a released version is frozen; undo the edit and release a new version"
    assert files.keys() == RELEASED.keys(), "a new version is pinned here when it is released"


def test_latest_is_the_whole_catalogue_and_no_released_version(folder: Path) -> None:
    loaded = load_registry_version(LATEST, folder)
    assert loaded.feature_set.columns == tuple(FEATURES)
    assert (loaded.version, loaded.path, loaded.warnings) == (LATEST, None, ())
    assert LATEST not in registry_versions()
    (folder / "latest.yaml").write_text("version: latest\n")
    assert registry_versions(folder) == ()


def test_the_shipped_versions_hold_what_their_descriptions_say() -> None:
    columns = {version: load_registry_version(version).feature_set.columns for version in SHIPPED}
    assert registry_versions() == SHIPPED
    assert {version: len(names) for version, names in columns.items()} == {
        "1.0.0": 29,
        "1.1.0": 29 + 3 + 10 + 3 + 3 + 2,
        "1.2.0": 7,
        "1.3.0": 79,
        "1.4.0": 79 + 10,
        "2.0.0": 168,
        "2.1.0": 168,
    }
    assert columns["1.1.0"][:29] == columns["1.0.0"]
    assert set(columns["1.2.0"]) == {
        *("returns_5m", "volatility_5m", "rsi_14", "ema_21", "price_ema21_ratio", "volume_ratio_20", "funding_rate")
    }
    assert set(columns["1.3.0"]) <= {declared.name for declared in GROUPS["candles"]}
    assert set(columns["2.0.0"]) <= set(FEATURES)
    touching = {name: name for name in columns["2.0.0"]} | {
        f"pattern_{side}_{pattern}": f"pattern_{side}_{pattern}_touching"
        for side in ("bullish", "bearish")
        for pattern in ("engulfing", "harami")
    }
    assert columns["2.1.0"] == tuple(touching[name] for name in columns["2.0.0"])


def test_a_version_keeps_the_order_of_its_file(folder: Path) -> None:
    assert load_registry_file(written(folder, RSI, MID)).feature_set.columns == ("rsi_14", "mid_price")
    assert load_registry_file(written(folder, MID, RSI)).feature_set.columns == ("mid_price", "rsi_14")


def test_a_file_of_the_original_schema_loads(folder: Path) -> None:
    """Fields that came later are absent, and sources are named that the code does not read."""
    old = without(RSI, "max_lookback_days", "normalization", "data_sources")
    loaded = load_registry_file(written(folder, old | {"input_sources": ["kline", "trades", "orderbook"]}))
    assert loaded.feature_set.columns == ("rsi_14",)
    assert loaded.warnings == (
        "rsi_14.input_sources: trades is declared but not read",
        "rsi_14.input_sources: orderbook is declared but not read",
    )


def test_everything_that_is_wrong_is_said_at_once_with_the_feature_it_is_wrong_of(folder: Path) -> None:
    path = written(
        folder,
        RSI | {"lookahead_forbidden": False, "max_lookback_days": 91, "input_sources": ["trades"]},
        RSI | {"name": "rsi_41"},
        MID | {"lookback_window": "fast", "normalization": {"type": "rank", "window": "5m"}},
        MID,
        "ema_21",
        version="1.2",
    )
    problems = problems_of(path)
    assert [problem.partition(":")[0] for problem in problems] == [
        "version",
        "rsi_14.lookahead_forbidden",
        "rsi_14.max_lookback_days",
        "rsi_14.input_sources",
        "mid_price.lookback_window",
        "mid_price.normalization",
        "features[4]",
        "mid_price",
        "rsi_41",
    ]


def test_an_unknown_feature_is_named_with_the_closest_there_is(folder: Path) -> None:
    assert problem_of(written(folder, RSI | {"name": "rsi14"})) == (
        "rsi14: must be in the catalogue, did you mean rsi_14?"
    )
    assert problem_of(written(folder, RSI | {"name": "qqqqqq"})) == "qqqqqq: must be in the catalogue"


def test_a_feature_named_twice_is_said_once(folder: Path) -> None:
    assert problem_of(written(folder, MID, MID, RSI, MID)) == "mid_price: must be named once, was named 3 times"


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


@pytest.mark.parametrize(
    "version", ["1.2", "1.2.3.4", "v1.2.3", "1.2.3-rc1", "", 1.2, None, ["1.2.3"], "1.2.3\n"], ids=repr
)
def test_a_version_must_have_three_numbers(folder: Path, version: object) -> None:
    assert problem_of(written(folder, RSI, version=version)).startswith("version: must be <major>.<minor>.<patch>")


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "5", "\t", "{", "version: 9.0.0", "features: []", "version: 9.0.0\nfeatures: {a: b}"),
        *("version: 9.0.0\nfeatures: []", "version: 9.0.0\nfeatures: &a [*a]", "[" * 50_000, "a: !!python/name:os.sep"),
    ],
    ids=lambda text: repr(text[:40]),
)
def test_a_file_that_is_no_registry_is_said_to_be_none(folder: Path, text: str) -> None:
    path = folder / "9.0.0.yaml"
    path.write_text(text)
    assert problems_of(path)


def test_bytes_that_are_no_text_are_said_to_be_none(folder: Path) -> None:
    path = folder / "9.0.0.yaml"
    path.write_bytes(b"version: \xff\xfe")
    assert problem_of(path).startswith("file: must be YAML")


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


def test_versions_are_ordered_as_versions_and_other_files_are_none(folder: Path) -> None:
    for name in ("1.10.0.yaml", "1.9.0.yaml", "2.0.0.yaml", "1.9.10.yaml", "notes.yaml", "1.0.yaml", "3.0.0.json"):
        (folder / name).touch()
    assert registry_versions(folder) == ("1.9.0", "1.9.10", "1.10.0", "2.0.0")
    assert version_key("1.10.0") > version_key("1.9.99")


def test_a_version_that_has_no_file_is_not_found(folder: Path) -> None:
    written(folder, RSI)
    with pytest.raises(NotFound, match=r"must be one of 9\.0\.0, latest, was '8\.0\.0'"):
        load_registry_version("8.0.0", folder)
    with pytest.raises(NotFound):
        load_registry_version("../9.0.0", folder)


def test_a_file_must_hold_the_version_of_its_name(folder: Path) -> None:
    written(folder, RSI, version="9.0.1")
    with pytest.raises(InvalidRegistry, match=r"must be 9\.0\.0 as in the file's name, was 9\.0\.1"):
        load_registry_version("9.0.0", folder)


def test_names_of_the_first_spelling_are_aliases(folder: Path) -> None:
    assert set(ALIASES.values()) <= set(FEATURES)
    assert not set(ALIASES) & set(FEATURES)
    entries = [RSI | {"name": name} for name in ("RSI_14", "MACD_line", "BB_upper", "EMA_20")]
    columns = load_registry_file(written(folder, *entries)).feature_set.columns
    assert columns == ("rsi_14", "macd_line", "bb_upper", "ema_20")
    assert problem_of(written(folder, RSI, RSI | {"name": "RSI_14"})) == "rsi_14: must be named once, was named 2 times"


def test_a_broken_file_is_left_out_and_named_and_the_others_are_read(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(folder, RSI)
    (folder / "3.0.0.yaml").write_bytes(b"\xff\xfe")
    (folder / "4.0.0.yaml").mkdir()
    assert [found.version for found in sound_versions(folder)] == ["9.0.0"]
    assert "registry version 3.0.0 is skipped" in caplog.text
    assert "registry version 4.0.0 is skipped" in caplog.text


def test_a_file_that_was_edited_is_read_again(folder: Path) -> None:
    assert load_registry_version("9.0.0", written(folder, RSI).parent).feature_set.columns == ("rsi_14",)
    written(folder, RSI, MID)
    assert load_registry_version("9.0.0", folder).feature_set.columns == ("rsi_14", "mid_price")


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
