"""Data quality reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "data_quality_reports",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("period_start", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("period_end", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("missing_rate", sa.Double),
        sa.Column("anomaly_rate", sa.Double),
        sa.Column("sequence_gaps", sa.BigInteger, nullable=False),
        sa.Column("desynchronization_events", sa.BigInteger, nullable=False),
        sa.Column("report", JSONB, nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("missing_rate BETWEEN 0 AND 1", name=op.f("data_quality_reports_missing_rate_check")),
        sa.CheckConstraint("anomaly_rate BETWEEN 0 AND 1", name=op.f("data_quality_reports_anomaly_rate_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("data_quality_reports_pkey")),
    )
    op.create_index(
        "data_quality_reports_symbol_period", "data_quality_reports", ["symbol", "period_start", "period_end"]
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("data_quality_reports")
