"""Data quality by the minute, and what was found wrong."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "data_quality_metrics",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("metric_timestamp", sa.TIMESTAMP(timezone=True), nullable=False, comment="begin of the minute"),
        sa.Column("missing_rate", sa.Double, comment="null where nothing was expected"),
        sa.Column("anomaly_rate", sa.Double, comment="null where no trade was judged"),
        sa.Column("sequence_gaps_count", sa.Integer, nullable=False),
        sa.Column("desynchronization_events_count", sa.Integer, nullable=False),
        sa.Column("data_completeness_rate", sa.Double, comment="null before anything was received"),
        sa.Column("received", JSONB, nullable=False, comment="messages by stream"),
        sa.Column("next_seq", sa.BigInteger, comment="of the tape, with which the next minute begins"),
        sa.Column("carried", JSONB, nullable=False, comment="what the minute leaves to the next"),
        sa.Column("trace_id", sa.Text),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("missing_rate BETWEEN 0 AND 1", name=op.f("data_quality_metrics_missing_rate_check")),
        sa.CheckConstraint("anomaly_rate BETWEEN 0 AND 1", name=op.f("data_quality_metrics_anomaly_rate_check")),
        sa.CheckConstraint(
            "data_completeness_rate BETWEEN 0 AND 1", name=op.f("data_quality_metrics_completeness_rate_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("data_quality_metrics_pkey")),
    )
    op.create_index(
        "data_quality_metrics_symbol_minute", "data_quality_metrics", ["symbol", "metric_timestamp"], unique=True
    )
    op.create_index("data_quality_metrics_minute", "data_quality_metrics", ["metric_timestamp"])
    op.create_table(
        "data_quality_events",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("begin_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("end_at", sa.TIMESTAMP(timezone=True), comment="null while it lasts"),
        sa.Column("detail", sa.Text, nullable=False),
        sa.CheckConstraint(
            "severity IN ('info', 'warning', 'critical')", name=op.f("data_quality_events_severity_check")
        ),
        sa.PrimaryKeyConstraint("symbol", "stream", "what", "begin_at", name=op.f("data_quality_events_pkey")),
    )
    op.create_index("data_quality_events_end", "data_quality_events", ["end_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("data_quality_events")
    op.drop_table("data_quality_metrics")
