"""Symbol leases and ingest workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "symbol_leases",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("worker_id", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False, comment="rises with every new owner"),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("symbol", name=op.f("symbol_leases_pkey")),
    )
    op.create_table(
        "ingest_workers",
        sa.Column("worker_id", sa.Text, nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("status", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("ingest_workers_pkey")),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("ingest_workers")
    op.drop_table("symbol_leases")
