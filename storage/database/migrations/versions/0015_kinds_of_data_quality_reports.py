"""Kinds of data quality reports: what a symbol's data looks like, or how it agrees with the exchange's history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say of each report of which kind it is; those before are of quality."""
    op.add_column(
        "data_quality_reports",
        sa.Column("kind", sa.Text, nullable=False, server_default="quality", comment="quality or reconciliation"),
    )


def downgrade() -> None:
    """Keep the reports of quality alone."""
    op.execute("DELETE FROM data_quality_reports WHERE kind <> 'quality'")
    op.drop_column("data_quality_reports", "kind")
