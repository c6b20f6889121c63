"""Upkeep: what its tasks did and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "upkeep_tasks",
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("period_seconds", sa.Double, nullable=False),
        sa.Column("registered_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True)),
        sa.Column(
            "ended_at", sa.TIMESTAMP(timezone=True), comment="older than started_at while it runs or was cut off"
        ),
        sa.Column("succeeded_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("told_at", sa.TIMESTAMP(timezone=True), comment="when a run last told of its progress"),
        sa.Column("duration_seconds", sa.Double, comment="of the last success"),
        sa.Column("progress", sa.Double, nullable=False, server_default=sa.text("0"), comment="0 to 1"),
        sa.Column("runs", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("failures", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("error", sa.Text, comment="of the last run, null when it succeeded"),
        sa.Column("result", JSONB, comment="of the last success"),
        sa.Column("worker", sa.Text),
        sa.PrimaryKeyConstraint("task", name=op.f("upkeep_tasks_pkey")),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("upkeep_tasks")
