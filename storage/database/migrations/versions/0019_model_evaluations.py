"""Evaluations of models, and every model that was tried on a test split, which both outlive their dataset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create two tables."""
    op.create_table(
        "model_evaluations",
        sa.Column("evaluation_id", sa.Text, nullable=False),
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("evaluation", JSONB, nullable=False, comment="as it was answered"),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("model_evaluations_pkey")),
    )
    op.create_index("model_evaluations_dataset", "model_evaluations", ["dataset_id", "created_at"])
    op.create_table(
        "test_trials",
        sa.Column("test_data", sa.Text, nullable=False, comment="hash of symbols and test periods"),
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("cell", sa.Text, nullable=False, comment="fold or path that was predicted"),
        sa.Column("digest", sa.Text, nullable=False, comment="of the predictions"),
        sa.PrimaryKeyConstraint("test_data", "dataset_id", "cell", "digest", name=op.f("test_trials_pkey")),
    )
    op.create_index("test_trials_dataset", "test_trials", ["dataset_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("test_trials")
    op.drop_table("model_evaluations")
