"""Freshness: how often each view was found as fresh as promised, by the minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "freshness_minutes",
        sa.Column("view", sa.Text, nullable=False),
        sa.Column("tier", sa.Integer, nullable=False),
        sa.Column("minute", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("looks", sa.BigInteger, nullable=False, comment="of a symbol, but those at a view that warms up"),
        sa.Column("fresh", sa.BigInteger, nullable=False, comment="that found a row of at most the age promised"),
        sa.Column("covered", sa.BigInteger, nullable=False, comment="of these, that found its source there"),
        sa.CheckConstraint("covered <= fresh AND fresh <= looks", name=op.f("freshness_minutes_shares_check")),
        sa.PrimaryKeyConstraint("view", "tier", "minute", name=op.f("freshness_minutes_pkey")),
    )
    op.create_index("freshness_minutes_minute", "freshness_minutes", ["minute"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("freshness_minutes")
