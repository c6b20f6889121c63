"""The tables of figures that dashboards read by SQL: rows computed, datasets built, requests answered."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from storage.database.schema import TABLES

INTERVALS: Final = ("1s", "3s", "15s", "1m")

FEATURE_COMPUTATION_METRICS = Table(
    "feature_computation_metrics",
    TABLES,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("symbol", Text, nullable=False),
    Column("computation_timestamp", TIMESTAMP(timezone=True), nullable=False, comment="begin of the minute"),
    Column("latency_ms", Double, comment="mean from a row's time until it was stored; null when none was"),
    Column("latency_max_ms", Double),
    Column("feature_registry_version", Text, nullable=False),
    Column("computation_interval", Text, nullable=False),
    Column("features_count", Integer, nullable=False, comment="of a row"),
    Column("computations", Integer, nullable=False, comment="rows of the interval"),
    Column("stored", Integer, nullable=False, comment="rows with a latency: a newer one replaces one that waits"),
    Column("events_count", BigInteger, nullable=False, comment="messages of the minute, in the row of 1s alone"),
    Column("error_count", Integer, nullable=False, server_default=text("0"), comment="messages rejected, likewise"),
    Column("trace_id", Text, comment="of the slowest row"),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(f"computation_interval IN {INTERVALS}", name="interval"),
    Index("feature_computation_metrics_time", "computation_timestamp"),
    Index("feature_computation_metrics_symbol_time", "symbol", "computation_timestamp"),
    Index("feature_computation_metrics_version", "feature_registry_version"),
)

DATASET_BUILDING_METRICS = Table(
    "dataset_building_metrics",
    TABLES,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("dataset_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("symbol", Text, nullable=False, comment="all of them, with commas between"),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("build_started_at", TIMESTAMP(timezone=True), nullable=False),
    Column("build_completed_at", TIMESTAMP(timezone=True), comment="null while it is built"),
    Column("build_status", Text, nullable=False),
    Column("build_duration_seconds", Double),
    Column("records_count", BigInteger),
    Column("train_records", BigInteger),
    Column("validation_records", BigInteger),
    Column("test_records", BigInteger),
    Column("feature_registry_version", Text, nullable=False),
    Column("split_strategy", Text),
    Column("samples", BigInteger),
    Column("days_computed", Integer, comment="symbol-days whose features were missing"),
    Column("days_reused", Integer),
    Column("features_seconds", Double, comment="making sure that the features exist"),
    Column("build_seconds", Double, comment="everything after that"),
    Column("trace_id", Text),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("build_status IN ('building', 'ready', 'failed', 'cancelled')", name="status"),
    Index("dataset_building_metrics_attempt", "dataset_id", "attempt", unique=True),
    Index("dataset_building_metrics_started", "build_started_at"),
    Index("dataset_building_metrics_status", "build_status"),
)

API_ENDPOINT_METRICS = Table(
    "api_endpoint_metrics",
    TABLES,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("endpoint", Text, nullable=False, comment="the route's template"),
    Column("method", Text, nullable=False),
    Column("response_time_ms", Double, nullable=False, comment="until the answer began"),
    Column("status_code", Integer, nullable=False),
    Column("symbol", Text),
    Column("request_timestamp", TIMESTAMP(timezone=True), nullable=False),
    Column("trace_id", Text),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    Index("api_endpoint_metrics_time", "request_timestamp"),
    Index("api_endpoint_metrics_endpoint_time", "endpoint", "method", "request_timestamp"),
    Index("api_endpoint_metrics_status", "status_code"),
)
