"""Registry versions: what a file must keep, and that all it breaks is said at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest

from feature_repo.registry_versions import (
    ALIASES,
    LATEST,
    SHIPPED_FOLDER,
    load_registry_file,
    load_registry_version,
    registry_versions,
    sound_versions,
    version_key,
)
from market.errors import InvalidRegistry, NotFound
from tests.registry_files import MID, RSI, problem_of, problems_of, without, written
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
