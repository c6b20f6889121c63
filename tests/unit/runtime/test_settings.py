"""Settings: defaults, sources, and every problem told at once."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import SecretStr, ValidationError

from market.clock import DAY_NS, SECOND_NS, format_iso, parse_iso_ns
from market.errors import InvalidSettings
from quality.limits import USUAL_LIMITS
from runtime.settings import SUPERSEDED, Settings, load_settings, unknown_settings
from runtime.wiring import quality_limits

ENV_EXAMPLE = Path(__file__).parents[3] / "env.example"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() & {field.upper() for field in Settings.model_fields}:
        monkeypatch.delenv(name)


def assignments(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_env_example_lists_exactly_the_settings() -> None:
    assert set(assignments(ENV_EXAMPLE.read_text())) == {field.upper() for field in Settings.model_fields}


def test_env_example_states_the_defaults() -> None:
    assert load_settings(env_file=ENV_EXAMPLE) == load_settings(env_file=None)


def test_every_default_that_is_no_none_is_written_out_in_env_example() -> None:
    written = assignments(ENV_EXAMPLE.read_text())
    settings = load_settings(env_file=None)
    unwritten = {field for field, value in settings if value is not None and not written[field.upper()]}
    assert unwritten == {
        "raw_data_storage_path",
        "dataset_storage_path",
        "feature_log_storage_path",
        "feature_service_cache_path",
        "feature_registry_versions_dir",
    }


@pytest.mark.parametrize(
    ("text", "grid_ns"),
    [("50ms", 50_000_000), ("100ms", 100_000_000), ("200 ms", 200_000_000), ("250ms", 250_000_000), ("1s", 10**9)],
)
def test_the_row_grid_is_one_of_a_few(text: str, grid_ns: int) -> None:
    assert load_settings({"FEATURE_SERVICE_ROW_GRID": text}, env_file=None).row_grid_ns == grid_ns


@pytest.mark.parametrize("text", ["70ms", "100", "2s", "0ms", "-50ms", "fast"])
def test_another_row_grid_is_refused_by_name_rule_and_value(text: str) -> None:
    with pytest.raises(InvalidSettings, match=f"FEATURE_SERVICE_ROW_GRID: must be .*'100ms'.*, was '{text}'"):
        load_settings({"FEATURE_SERVICE_ROW_GRID": text}, env_file=None)


def test_without_addresses_the_embedded_servers_are_meant() -> None:
    settings = load_settings(env_file=None)
    assert (settings.redis_host, settings.postgres_host, settings.rabbitmq_host) == (None, None, None)


def test_the_storage_paths_follow_the_data_path_unless_given() -> None:
    settings = load_settings({"FEATURE_SERVICE_DATA_PATH": "/srv/fs", "DATASET_STORAGE_PATH": "/big"}, env_file=None)
    assert settings.raw_folder == Path("/srv/fs/raw")
    assert settings.feature_log_storage_path == Path("/srv/fs/features")
    assert settings.dataset_storage_path == Path("/big")


def test_an_override_wins_over_the_environment_and_the_environment_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("REDIS_PORT=1\nREDIS_HOST=file\nREDIS_DB=3\n")
    monkeypatch.setenv("REDIS_PORT", "2")
    monkeypatch.setenv("REDIS_HOST", "environment")
    settings = load_settings({"REDIS_PORT": "4"}, env_file=env_file)
    assert (settings.redis_port, settings.redis_host, settings.redis_db) == (4, "environment", 3)


def test_an_override_of_none_takes_a_configured_address_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.internal")
    assert load_settings({"POSTGRES_HOST": None}, env_file=None).postgres_host is None


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("POSTGRES_HOST=\nPOSTGRES_PORT=\n")
    monkeypatch.setenv("REDIS_HOST", "")
    settings = load_settings(env_file=env_file)
    assert (settings.postgres_host, settings.postgres_port, settings.redis_host) == (None, 5432, None)


def numbers() -> list[tuple[str, int, int]]:
    """Each setting of a whole number, with the least and the most."""
    found = []
    for name, field in Settings.model_fields.items():
        # An optional one has its bounds inside.
        kinds = [field.annotation, *get_args(field.annotation)]
        if int in kinds or any(get_args(kind)[:1] == (int,) for kind in kinds):
            rules = [*field.metadata, *(rule for kind in kinds for rule in getattr(kind, "__metadata__", ()))]
            rules += [inner for rule in rules for inner in getattr(rule, "metadata", ())]
            [least] = [rule.ge for rule in rules if hasattr(rule, "ge")]
            [most] = [rule.le for rule in rules if hasattr(rule, "le")]
            found.append((name.upper(), least, most))
    return found


@pytest.mark.parametrize(("name", "least", "most"), numbers())
def test_a_whole_number_has_a_least_and_a_most_of_which_the_service_is_safe(name: str, least: int, most: int) -> None:
    for value in {least, most} if name != "FEATURE_SERVICE_TAPE_SEGMENT_SECONDS" else {most}:
        load_settings({name: str(value)}, env_file=None)
    for value, rule in ((least - 1, f"greater than or equal to {least}"), (most + 1, f"less than or equal to {most}")):
        with pytest.raises(InvalidSettings, match=f"{name}: must be {rule}, was '{value}'"):
            load_settings({name: str(value)}, env_file=None)
    if name.endswith(("_DAYS", "_SECONDS")):
        unit_ns = DAY_NS if name.endswith("_DAYS") else SECOND_NS
        begin_ns = parse_iso_ns("2026-01-05") - most * unit_ns
        assert parse_iso_ns(format_iso(begin_ns)) == begin_ns
        assert np.int64(begin_ns) == begin_ns


@pytest.mark.parametrize("text", [",", "a,,b", "a,"])
@pytest.mark.parametrize("name", ["FEATURE_SERVICE_DRIFT_DATASETS", "FEATURE_SERVICE_FEATURE_MODULES"])
def test_a_name_of_a_list_is_not_empty(name: str, text: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name}: must be names separated by commas, none of them empty"):
        load_settings({name: text}, env_file=None)


def test_symbols_are_split_at_commas() -> None:
    settings = load_settings({"FEATURE_SERVICE_SYMBOLS": "BTCUSDT, 1000PEPEUSDT"}, env_file=None)
    assert settings.feature_service_symbols == ("BTCUSDT", "1000PEPEUSDT")


@pytest.mark.parametrize("text", ["btcusdt", "BTCUSDT,", "BTCUSDT,BTCUSDT", ",", "BTC/USDT"])
def test_symbols_that_are_no_list_of_different_symbols_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="FEATURE_SERVICE_SYMBOLS: must be different symbols"):
        load_settings({"FEATURE_SERVICE_SYMBOLS": text}, env_file=None)


def test_every_problem_is_told_at_once_with_its_variable_rule_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_SERVICE_PORT", "99999")
    monkeypatch.setenv("REDIS_DB", "-1")
    monkeypatch.setenv("DATASET_MIN_COVERAGE_RATIO", "nan")
    monkeypatch.setenv("BYBIT_ENVIRONMENT", "moon")
    monkeypatch.setenv("FEATURE_SERVICE_HOST", "10.0.0.7")
    with pytest.raises(InvalidSettings) as caught:
        load_settings({"FEATURE_SERVICE_PROT": "1"}, env_file=None)
    assert set(caught.value.problems) == {
        "FEATURE_SERVICE_PROT: must be a setting's name",
        "FEATURE_SERVICE_PORT: must be less than or equal to 65535, was '99999'",
        "FEATURE_SERVICE_HOST: must be a loopback address unless FEATURE_SERVICE_API_KEY is set, was '10.0.0.7'",
        "REDIS_DB: must be greater than or equal to 0, was '-1'",
        "BYBIT_ENVIRONMENT: must be 'mainnet' or 'testnet', was 'moon'",
        "DATASET_MIN_COVERAGE_RATIO: must be a finite number, was 'nan'",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_loopback_address_needs_no_key(host: str) -> None:
    assert load_settings({"FEATURE_SERVICE_HOST": host}, env_file=None).feature_service_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "features.internal", "localhost.evil"])  # noqa: S104  # refused
def test_any_other_address_needs_a_key(host: str) -> None:
    with pytest.raises(InvalidSettings, match="FEATURE_SERVICE_HOST: must be a loopback address"):
        load_settings({"FEATURE_SERVICE_HOST": host}, env_file=None)
    opened = load_settings({"FEATURE_SERVICE_HOST": host, "FEATURE_SERVICE_API_KEY": "k"}, env_file=None)
    assert opened.feature_service_host == host


def test_secrets_are_shown_neither_in_errors_nor_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "hush")
    assert load_settings(env_file=None).postgres_password == SecretStr("hush")
    assert "hush" not in repr(load_settings(env_file=None))
    wrong = {"FEATURE_SERVICE_PORT": "none", "REDIS_PASSWORD": ["hush"]}
    with pytest.raises(InvalidSettings) as caught:
        load_settings(wrong, env_file=None)  # type: ignore[arg-type]  # a list is no text
    assert "REDIS_PASSWORD: must be a valid string, was hidden" in caught.value.problems
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None  # pydantic's own error holds the values


def test_secret_settings_are_those_named_key_secret_password_or_webhook_url() -> None:
    secret = {field for field, of in Settings.model_fields.items() if "SecretStr" in str(of.annotation)}
    assert secret == {
        field for field in Settings.model_fields if field.endswith(("_key", "_secret", "_password", "_webhook_url"))
    }


@pytest.mark.parametrize("port", ["0", "65536"])
def test_every_port_is_1_to_65535(port: str) -> None:
    names = {field.upper() for field in Settings.model_fields if field.endswith("_port")}
    with pytest.raises(InvalidSettings) as caught:
        load_settings(dict.fromkeys(names, port), env_file=None)
    assert {problem.split(":")[0] for problem in caught.value.problems} == names


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings(env_file=None).redis_port = 1  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize("seconds", ["0", "7", "7200"])
def test_the_length_of_a_segment_divides_an_hour(seconds: str) -> None:
    with pytest.raises(InvalidSettings, match="FEATURE_SERVICE_TAPE_SEGMENT_SECONDS"):
        load_settings({"FEATURE_SERVICE_TAPE_SEGMENT_SECONDS": seconds}, env_file=None)


def test_a_name_that_looks_like_a_setting_and_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_SERVICE_SYMBOL", "BTCUSDT")
    monkeypatch.setenv("FEATURE_SERVICE_TEST_STRICT", "1")
    monkeypatch.setenv("FEATURE_SERVICE_PORT", "4900")
    (tmp_path / ".env").write_text("FEATURE_SERVICE_APIKEY=x\nOTHER=1\n")
    assert unknown_settings(env_file=tmp_path / ".env") == [
        "FEATURE_SERVICE_APIKEY: no such setting, did you mean FEATURE_SERVICE_API_KEY?",
        "FEATURE_SERVICE_SYMBOL: no such setting, did you mean FEATURE_SERVICE_SYMBOLS?",
    ]


def test_a_name_of_the_users_documents_that_is_none_says_what_stands_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYBIT_RATE_LIMIT_DELAY_MS", "100")
    monkeypatch.setenv("BYBIT_ANYTHING", "1")
    (tmp_path / ".env").write_text("FEATURE_SERVICE_BACKFILL_DEFAULT_INTERVAL=1\n")
    assert unknown_settings(env_file=tmp_path / ".env") == [
        "BYBIT_RATE_LIMIT_DELAY_MS: no such setting, use FEATURE_SERVICE_BACKFILL_RATE_LIMIT_DELAY_MS",
        "FEATURE_SERVICE_BACKFILL_DEFAULT_INTERVAL: no such setting, candles are of one minute",
    ]
    assert not {name.lower() for name in SUPERSEDED} & Settings.model_fields.keys()


def test_origins_are_addresses_without_a_path() -> None:
    given = load_settings({"FEATURE_SERVICE_CORS_ORIGINS": "https://a.example, http://localhost:3000"}, env_file=None)
    assert given.feature_service_cors_origins == ("https://a.example", "http://localhost:3000")
    with pytest.raises(InvalidSettings, match="FEATURE_SERVICE_CORS_ORIGINS: must be origins"):
        load_settings({"FEATURE_SERVICE_CORS_ORIGINS": "https://a.example/page"}, env_file=None)


OF_QUALITY = [name for name in Settings.model_fields if name.startswith("feature_service_quality_")]


def test_the_limits_of_data_quality_that_nobody_sets_are_the_usual_ones() -> None:
    assert quality_limits(load_settings({}, env_file=None)) == USUAL_LIMITS


@pytest.mark.parametrize("name", OF_QUALITY)
def test_each_limit_of_data_quality_is_a_setting_that_is_read(name: str) -> None:
    text = "0.5" if name.endswith("rate") else "7"
    limits = quality_limits(load_settings({name.upper(): text}, env_file=None))
    names = [field.name for field in fields(limits)]
    [changed] = [each for each in names if getattr(limits, each) != getattr(USUAL_LIMITS, each)]
    assert getattr(limits, changed) == float(text)
    assert len(OF_QUALITY) == len(names)


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("LATE_RATE", "1.5", "must be less than or equal to 1"),
        ("DUPLICATE_RATE", "0", "must be greater than 0"),
        ("BOOK_SILENCE_SECONDS", "0", "must be greater than or equal to 1"),
        ("CLOCK_JUMP_MS", "soon", "must be a valid integer"),
        ("OUTLIER_DEVIATIONS", "2", "must be greater than or equal to 3"),
        ("OUTLIER_DEVIATIONS", "inf", "must be a finite number"),
    ],
)
def test_a_limit_of_data_quality_that_makes_no_sense_stops_the_start(name: str, text: str, rule: str) -> None:
    with pytest.raises(InvalidSettings, match=f"FEATURE_SERVICE_QUALITY_{name}: {rule}.*was '{text}'"):
        load_settings({f"FEATURE_SERVICE_QUALITY_{name}": text}, env_file=None)


def test_stores_may_be_in_an_object_store_and_tapes_and_attempts_at_datasets_stay_here(tmp_path: Path) -> None:
    given = {"FEATURE_SERVICE_DATA_PATH": str(tmp_path), "FEATURE_LOG_STORAGE_PATH": "s3://bucket/features"}
    settings = load_settings(given, env_file=None)
    assert settings.raw_data_storage_path == settings.raw_folder == tmp_path / "raw"
    assert str(settings.feature_log_storage_path) == "s3://bucket/features"
    settings = load_settings({**given, "RAW_DATA_STORAGE_PATH": "s3://bucket/raw"}, env_file=None)
    assert (str(settings.raw_data_storage_path), settings.raw_folder) == ("s3://bucket/raw", tmp_path / "raw")
    assert settings.dataset_storage_path == settings.attempts_folder == tmp_path / "datasets"
    settings = load_settings({**given, "DATASET_STORAGE_PATH": "s3://bucket/sets"}, env_file=None)
    assert (str(settings.dataset_storage_path), settings.attempts_folder) == ("s3://bucket/sets", tmp_path / "datasets")
    archived = {"FEATURE_SERVICE_ARCHIVE_PATH": "s3://bucket/archive"}
    assert str(load_settings(archived, env_file=None).feature_service_archive_path) == "s3://bucket/archive"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("FEATURE_SERVICE_CACHE_PATH", "must be a folder of this machine"),
        ("FEATURE_SERVICE_DATA_PATH", "must be a folder of this machine"),
        ("RAW_DATA_STORAGE_PATH", "must be s3://bucket or s3://bucket/prefix, without a query"),
    ],
)
def test_an_object_store_for_what_cannot_be_in_one_is_refused(name: str, rule: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name}: {rule}, was 's3://bucket/x\\?y'"):
        load_settings({name: "s3://bucket/x?y"}, env_file=None)


@pytest.mark.parametrize("value", ["gs://bucket/raw", "S3://bucket/raw", "s3:/bucket", "~/raw"])
@pytest.mark.parametrize("name", ["RAW_DATA_STORAGE_PATH", "FEATURE_SERVICE_ARCHIVE_PATH", "FEATURE_SERVICE_DATA_PATH"])
def test_an_address_that_is_not_known_is_no_folder_of_that_name(name: str, value: str) -> None:
    rule = "must be a (path or s3://bucket/prefix|folder of this machine|whole path, ~ is a shell's)"
    with pytest.raises(InvalidSettings, match=f"{name}: {rule}, was '{value}'"):
        load_settings({name: value}, env_file=None)
