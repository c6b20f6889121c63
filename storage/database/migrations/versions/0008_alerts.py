"""Alerts, and what is silenced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False, comment="what to do"),
        sa.Column("found_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="when it was last found"),
        sa.Column("opened_at", sa.TIMESTAMP(timezone=True), comment="null until it lasted as long as its rule waits"),
        sa.Column("closed_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("told", JSONB, nullable=False, comment="the state that each channel knows"),
        sa.CheckConstraint("severity IN ('critical', 'warning')", name=op.f("alerts_severity_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("alerts_pkey")),
    )
    op.create_index(
        "alerts_one_that_lasts",
        "alerts",
        ["rule", "subject"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("alerts_closed_at", "alerts", ["closed_at"])
    op.create_table(
        "alert_silences",
        sa.Column("rule", sa.Text, nullable=False, comment="* is any"),
        sa.Column("subject", sa.Text, nullable=False, comment="a pattern, * is any"),
        sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("rule", "subject", name=op.f("alert_silences_pkey")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("alert_silences")
    op.drop_table("alerts")
