"""The life cycle of registry versions: what each was when it was recorded, and an audit that nobody can change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_REFUSING = """
CREATE FUNCTION feature_registry_audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'feature_registry_audit: must not be changed, was asked to %', lower(TG_OP)
        USING ERRCODE = 'restrict_violation';
END
$$
"""


def upgrade() -> None:
    """Add the columns, the indexes and the audit."""
    op.add_column("feature_registry_versions", sa.Column("content_sha256", sa.Text))
    op.add_column(
        "feature_registry_versions", sa.Column("definition", JSONB, comment="its columns, and the code behind each")
    )
    op.create_index("feature_registry_versions_created_at", "feature_registry_versions", ["created_at"])
    op.create_index("feature_registry_versions_previous", "feature_registry_versions", ["previous_version"])
    op.create_table(
        "feature_registry_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("previous_version", sa.Text),
        sa.Column("made_by", sa.Text, comment="who asked for it, as they said"),
        sa.Column("reason", sa.Text),
        sa.Column("origin", sa.Text, nullable=False, comment="where it came from"),
        sa.Column("details", JSONB, nullable=False),
        sa.Column("trace_id", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("feature_registry_audit_pkey")),
        sa.CheckConstraint(
            "action IN ('create', 'sync', 'activate', 'rollback', 'delete', 'migrate')",
            name=op.f("feature_registry_audit_action_check"),
        ),
    )
    op.create_index("feature_registry_audit_version", "feature_registry_audit", ["version"])
    op.execute(_REFUSING)
    op.execute(
        "CREATE TRIGGER feature_registry_audit_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON feature_registry_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION feature_registry_audit_refuses()"
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("feature_registry_audit")
    op.execute("DROP FUNCTION feature_registry_audit_refuses()")
    op.drop_index("feature_registry_versions_previous")
    op.drop_index("feature_registry_versions_created_at")
    op.drop_column("feature_registry_versions", "definition")
    op.drop_column("feature_registry_versions", "content_sha256")
