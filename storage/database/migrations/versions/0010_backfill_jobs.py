"""Backfill jobs: which days of which symbol are to come, have come and have failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "backfill_jobs",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("start_date", sa.Text, nullable=False, comment="YYYY-MM-DD, UTC"),
        sa.Column("end_date", sa.Text, nullable=False, comment="inclusive"),
        sa.Column("data_types", ARRAY(sa.Text), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("current_date", sa.Text),
        sa.Column("completed_dates", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("failed_dates", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("details", JSONB, nullable=False, comment="by date and data type, what was filled and why it failed"),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("start_time", sa.TIMESTAMP(timezone=True)),
        sa.Column("end_time", sa.TIMESTAMP(timezone=True)),
        sa.Column("trace_id", sa.Text),
        sa.PrimaryKeyConstraint("job_id", name=op.f("backfill_jobs_pkey")),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')",
            name=op.f("backfill_jobs_status_check"),
        ),
    )
    op.create_index("backfill_jobs_created_at", "backfill_jobs", ["created_at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("backfill_jobs")
