"""Tasks that any process with the jobs role performs for one that waits for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "engine_tasks",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("arguments", JSONB, nullable=False),
        sa.Column("outcome", JSONB(none_as_null=True), comment="result or error; NULL while it has not ended"),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "number", name=op.f("engine_tasks_pkey")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("engine_tasks")
