"""Datasets and feature registry versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "datasets",
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("symbols", ARRAY(sa.Text), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("splits_info", JSONB),
        sa.Column("feature_registry_version", sa.Text, nullable=False),
        sa.Column("feature_set", sa.Text, nullable=False, comment="fingerprint"),
        sa.Column("path", sa.Text),
        sa.Column("train_records", sa.BigInteger),
        sa.Column("validation_records", sa.BigInteger),
        sa.Column("test_records", sa.BigInteger),
        sa.Column("error_message", sa.Text),
        sa.Column("progress", sa.Double, nullable=False, comment="0 to 1"),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("datasets_pkey")),
        sa.CheckConstraint(
            "status IN ('building', 'ready', 'failed', 'cancelled')", name=op.f("datasets_status_check")
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name=op.f("datasets_progress_check")),
    )
    op.create_table(
        "feature_registry_versions",
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("file_path", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("validated_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("validation_errors", JSONB),
        sa.Column("loaded_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("activated_by", sa.Text),
        sa.Column("rollback_from", sa.Text),
        sa.Column("previous_version", sa.Text),
        sa.Column("schema_version", sa.Text),
        sa.Column("migration_script", sa.Text),
        sa.Column("compatibility_warnings", JSONB),
        sa.Column("breaking_changes", JSONB),
        sa.Column("activation_reason", sa.Text),
        sa.PrimaryKeyConstraint("version", name=op.f("feature_registry_versions_pkey")),
    )
    op.create_index(
        "feature_registry_versions_one_active",
        "feature_registry_versions",
        ["is_active"],
        unique=True,
        postgresql_where=sa.text("is_active"),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("feature_registry_versions")
    op.drop_table("datasets")
