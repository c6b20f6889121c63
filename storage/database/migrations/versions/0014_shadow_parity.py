"""Shadow parity: what was compared of each symbol, what differed, and the groups that are withheld."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    zero = sa.text("0")
    op.create_table(
        "shadow_parity",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("looked_at", TIME, nullable=False),
        sa.Column("compared_until", TIME, comment="time of the newest row that was compared"),
        sa.Column("compared", sa.BigInteger, nullable=False, server_default=zero, comment="rows"),
        sa.Column("mismatched", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("quarantined", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("not_compared", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("reason", sa.Text, comment="why the last ones could not be compared"),
        sa.PrimaryKeyConstraint("symbol", name=op.f("shadow_parity_pkey")),
    )
    op.create_table(
        "shadow_mismatches",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("row_ns", sa.BigInteger, nullable=False),
        sa.Column("group", sa.Text, nullable=False),
        sa.Column("feature", sa.Text, nullable=False),
        sa.Column("served", sa.Text, nullable=False),
        sa.Column("computed", sa.Text, nullable=False),
        sa.Column("found_in", sa.Text, nullable=False, comment="the published row, or the online store"),
        sa.Column("rows", sa.Integer, nullable=False, comment="rows of the look in which the group differed"),
        sa.Column("messages", JSONB, nullable=False, comment="received around the row"),
        sa.Column("found_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("symbol", "row_ns", "group", "found_in", name=op.f("shadow_mismatches_pkey")),
    )
    op.create_index("shadow_mismatches_found_at", "shadow_mismatches", ["found_at"])
    op.create_table(
        "quarantined_groups",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("group", sa.Text, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("symbol", "group", name=op.f("quarantined_groups_pkey")),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("quarantined_groups", "shadow_mismatches", "shadow_parity"):
        op.drop_table(name)
