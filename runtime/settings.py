"""Settings: every environment variable the service reads, checked once at the start.

A field is its variable in lower case. A variable that is set but empty counts as not set.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import InvalidSettings
from market.markets import DEFAULT_MARKET, Market
from runtime.setting_types import (
    CatalogName,
    Count,
    Days,
    Folder,
    KeptChannels,
    LogFormat,
    LogLevel,
    Names,
    Origins,
    Percent,
    Port,
    RowGrid,
    Seconds,
    Share,
    StoragePlace,
    Symbols,
    check_divides_hour,
    is_loopback,
    parsed_market,
)

PREFIX: Final = "FEATURE_SERVICE_"
OF_TESTS: Final = "FEATURE_SERVICE_TEST_"
SUPERSEDED: Final = {
    "BYBIT_RATE_LIMIT_DELAY_MS": "use FEATURE_SERVICE_BACKFILL_RATE_LIMIT_DELAY_MS",
    "BYBIT_REST_BASE_URL": "use BYBIT_REST_URL to override that of BYBIT_ENVIRONMENT",
    "FEATURE_SERVICE_BACKFILL_DEFAULT_INTERVAL": "candles are of one minute",
}
"""Names from the users' documents that are not settings, and their replacements."""
_SHIPPED_VERSIONS = Path(__file__).resolve().parent.parent / "feature_repo" / "registry"


def _under_data_path(name: str) -> Any:  # noqa: ANN401  # what Field itself returns
    return Field(default_factory=lambda valid: valid["feature_service_data_path"] / name)


class Settings(BaseSettings):
    """The checked settings of one process; build them with ``load_settings``.

    POSTGRES_HOST, RABBITMQ_HOST and REDIS_HOST are None where the embedded server (or the in-process bus) is wanted.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_file_encoding="utf-8", hide_input_in_errors=True
    )

    feature_service_port: Port = 4900
    # The key stands before the host, whose rule depends on it.
    feature_service_api_key: SecretStr | None = None
    feature_service_host: str = "127.0.0.1"
    feature_service_metrics_port: Port = 4901
    feature_service_max_body_bytes: Count = 1 << 20
    feature_service_max_predictions_bytes: Count = 64 << 20
    feature_service_reads_per_second: Count = 5000
    feature_service_changes_per_second: Count = 50
    feature_service_cors_origins: Origins | None = None
    feature_service_log_format: LogFormat = "console"
    feature_service_log_level: LogLevel = "INFO"
    feature_service_symbols: Symbols = ("BTCUSDT",)
    feature_service_tier1_symbols: Symbols | None = None
    feature_service_retention_days: Days = 90
    feature_service_figures_days: Days = 30
    feature_service_archive_path: StoragePlace | None = None
    feature_service_disk_warn_percent: Percent = 85.0
    feature_service_disk_caches_percent: Percent = 95.0
    feature_service_disk_stop_percent: Percent = 98.0
    feature_service_quality_missing_rate: Share = 0.01
    feature_service_quality_anomaly_rate: Share = 0.01
    feature_service_quality_late_rate: Share = 0.05
    feature_service_quality_duplicate_rate: Share = 0.05
    feature_service_quality_book_silence_seconds: Seconds = 5
    feature_service_quality_trade_silence_seconds: Seconds = 60
    feature_service_quality_ticker_silence_seconds: Seconds = 60
    feature_service_quality_kline_silence_seconds: Seconds = 120
    feature_service_quality_repair_seconds: Seconds = 10
    feature_service_quality_clock_jump_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 250
    feature_service_quality_outlier_deviations: Annotated[float, Field(ge=3, allow_inf_nan=False)] = 10.0
    feature_service_shadow_parity: bool = True
    feature_service_shadow_quarantine: bool = False
    feature_service_feature_modules: Names | None = None
    """Read by transforms/outside.py, before there are settings."""
    feature_service_drift_datasets: Names | None = None
    feature_service_drift_hours: Annotated[int, Field(ge=1, le=24)] = 1
    feature_service_drift_psi: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.25
    feature_service_drift_ks: Share = 0.3
    feature_service_drift_missing_rate: Share = 0.1
    feature_service_openlineage_url: str | None = None
    feature_service_alert_webhook_url: SecretStr | None = None
    feature_service_alert_webhook_format: Literal["json", "slack"] = "json"
    feature_service_alert_row_seconds: Seconds = 30
    feature_service_alert_silent_seconds: Seconds = 60
    feature_service_alert_burn_1h: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 14.4
    feature_service_alert_burn_6h: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 6.0
    feature_service_alert_queue_messages: Count = 10_000
    feature_service_alert_dead_letters: Count = 10
    feature_service_alert_unknown_share: Share = 0.5
    feature_service_shards: Annotated[int, Field(ge=1, le=64)] | None = None
    feature_service_row_grid: RowGrid = "100ms"
    feature_service_publish_grid: bool = False
    feature_service_dead_letter_mb: Count = 256
    feature_service_dead_letter_days: Days = 30
    feature_service_tape_sync_ms: Annotated[int, Field(ge=1, le=10_000)] = 200
    feature_service_tape_segment_seconds: Annotated[int, Field(ge=1, le=3600), AfterValidator(check_divides_hour)] = (
        3600
    )

    feature_service_data_path: Folder = Path("data")
    raw_data_storage_path: StoragePlace = _under_data_path("raw")
    dataset_storage_path: StoragePlace = _under_data_path("datasets")
    feature_log_storage_path: StoragePlace = _under_data_path("features")
    feature_service_cache_path: Folder = Field(default_factory=lambda: Path.home() / ".cache" / "feature-service")

    postgres_host: str | None = None
    postgres_port: Port = 5432
    postgres_db: str = "feature_service"
    postgres_user: str = "feature_service"
    postgres_password: SecretStr | None = None

    rabbitmq_host: str | None = None
    rabbitmq_port: Port = 5672
    rabbitmq_user: str = "guest"
    rabbitmq_password: SecretStr = SecretStr("guest")
    rabbitmq_vhost: str = "/"

    redis_host: str | None = None
    redis_port: Port = 6379
    redis_db: Annotated[int, Field(ge=0, le=(1 << 31) - 1)] = 0
    redis_user: str | None = None
    redis_password: SecretStr | None = None
    redis_tls: bool = False
    redis_tls_ca_file: Path | None = None
    redis_type: Literal["redis", "redis_cluster", "redis_sentinel"] = "redis"
    redis_sentinel_master: str = "mymaster"

    ws_gateway_host: str | None = None
    ws_gateway_port: Port = 4400
    ws_gateway_api_key: SecretStr | None = None
    ws_gateway_trade_queue: str = "ws-gateway.trade"
    ws_gateway_kept: KeptChannels | None = None

    position_manager_host: str | None = None
    position_manager_port: Port = 4800
    position_manager_api_key: SecretStr | None = None

    feature_service_market: Annotated[Market, NoDecode, BeforeValidator(parsed_market)] = DEFAULT_MARKET

    bybit_environment: Literal["mainnet", "testnet"] = "mainnet"
    bybit_stream_url: str | None = None
    bybit_rest_url: str | None = None
    bybit_trades_archive: str | None = None
    bybit_orderbook_archive: str | None = None
    bybit_api_key: SecretStr | None = None
    bybit_api_secret: SecretStr | None = None

    feature_service_backfill_enabled: bool = True
    feature_service_backfill_auto: bool = True
    feature_service_backfill_max_days: Annotated[int, Field(ge=1, le=3650)] = 90
    feature_service_backfill_rate_limit_delay_ms: Annotated[int, Field(ge=0, le=60_000)] = 100

    feature_registry_versions_dir: Path = _SHIPPED_VERSIONS
    feature_registry_use_db: bool = True
    feature_registry_config_path: Path | None = None
    feature_registry_auto_migrate: bool = True
    feature_registry_activation_seconds: Seconds = 300
    feature_registry_row_budget_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0

    dataset_max_timestamp_gap_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    dataset_min_coverage_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.8
    dataset_critical_gap_threshold_seconds: Seconds = 3600
    dataset_fail_on_large_gaps: bool = False
    dataset_detect_variable_intervals: bool = True
    dataset_expected_timestamp_interval_seconds: Seconds = 60
    dataset_quality_checks_enabled: bool = True
    dataset_builder_cache_enabled: bool = True
    dataset_builder_max_parallel: Annotated[int, Field(ge=1, le=64)] = 2
    feature_service_engine_workers: Annotated[int, Field(ge=1, le=256)] = 2
    feature_service_iceberg_catalog: CatalogName | None = None
    feature_service_iceberg_snapshot_days: Days = 7
    feature_service_engine: Literal["pool", "queue", "ray"] = "pool"
    ray_address: Annotated[str | None, Field(validate_default=True)] = None

    @property
    def raw_folder(self) -> Path:
        """Where tapes, pins, checkpoints and dead letters are: on this machine, wherever raw Parquet goes."""
        place = self.raw_data_storage_path
        return place if isinstance(place, Path) else self.feature_service_data_path / "raw"

    @property
    def attempts_folder(self) -> Path:
        """Where datasets are built, on this machine, wherever they go."""
        place = self.dataset_storage_path
        return place if isinstance(place, Path) else self.feature_service_data_path / "datasets"

    @property
    def row_grid_ns(self) -> int:
        """The time between two ticks of rows."""
        grid = self.feature_service_row_grid
        return int(grid.removesuffix("ms")) * MILLISECOND_NS if grid.endswith("ms") else SECOND_NS

    @field_validator("feature_service_host")
    @classmethod
    def _no_open_door(cls, host: str, info: ValidationInfo) -> str:
        if info.data.get("feature_service_api_key") is None and not is_loopback(host):
            raise ValueError("must be a loopback address unless FEATURE_SERVICE_API_KEY is set")
        return host

    @field_validator("ray_address")
    @classmethod
    def _names_the_cluster(cls, address: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("feature_service_engine") == "ray" and not address:
            raise ValueError("must be set where FEATURE_SERVICE_ENGINE is ray")
        return address


def load_settings(
    overrides: Mapping[str, str | None] | None = None, *, env_file: Path | None = Path(".env")
) -> Settings:
    """The settings from ``overrides`` (by variable name), else the environment, else ``env_file``, else the defaults.

    An override of None sets an optional variable to "not given". A missing ``env_file`` is no error.

    Raises InvalidSettings with every problem, each naming its variable, the rule and the value; secrets are not shown.
    """
    given = {name.lower(): value for name, value in (overrides or {}).items()}
    problems = [f"{name.upper()}: must be a setting's name" for name in given.keys() - Settings.model_fields.keys()]
    settings: Settings | None = None
    try:
        settings = Settings(_env_file=env_file, **given)  # type: ignore[arg-type]  # text, parsed by the fields
    except ValidationError as error:
        problems += [
            _problem(str(detail["loc"][0]), detail["msg"], detail["input"])
            for detail in error.errors()
            if detail["type"] != "default_factory_not_called"  # a default derived from settings that are wrong
        ]
    if problems or settings is None:
        raise InvalidSettings("settings", problems)
    return settings


def object_store_properties() -> dict[str, str]:
    """What the SDKs' variables say of an object store, as pyiceberg names it. Raises InvalidSettings of an endpoint."""
    stated = {"s3.endpoint": "AWS_ENDPOINT_URL", "client.region": "AWS_REGION"}
    found = {name: os.environ[variable] for name, variable in stated.items() if os.environ.get(variable)}
    if re.fullmatch(r"(https?://[^/@\s]+/?)?", found.get("s3.endpoint", "")) is None:
        raise InvalidSettings("settings", ["AWS_ENDPOINT_URL: must be http://HOST:PORT or https://HOST:PORT, was not"])
    return found


def unknown_settings(*, env_file: Path | None = Path(".env")) -> list[str]:
    """Variables that are named like settings of ours and are none, each with the name that may be meant."""
    known = [name.upper() for name in Settings.model_fields]
    given = {*os.environ, *(name.upper() for name in DotEnvSettingsSource(Settings, env_file=env_file).env_vars)}
    ours = {name for name in given if name.startswith(PREFIX) and not name.startswith(OF_TESTS)}
    found = []
    for name in sorted((ours | given & SUPERSEDED.keys()) - {*known}):
        closest = difflib.get_close_matches(name, known, n=1)
        meant = f", did you mean {closest[0]}?" if closest else ""
        found.append(f"{name}: no such setting" + (f", {SUPERSEDED[name]}" if name in SUPERSEDED else meant))
    return found


def _problem(field: str, message: str, value: object) -> str:
    rule = message.removeprefix("Value error, ").replace("Input should be", "must be")
    if value is None:
        shown = "not set"
    elif "SecretStr" in str(Settings.model_fields[field].annotation):
        shown = "hidden"
    else:
        shown = repr(value)
    return f"{field.upper()}: {rule}, was {shown}"
