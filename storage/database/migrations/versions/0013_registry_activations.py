"""Activations of registry versions while workers run: each is one decision, which every worker confirms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_CHECK = "feature_registry_audit_action_check"
_BEFORE = "'create', 'sync', 'activate', 'rollback', 'delete', 'migrate'"


def _allow(actions: str, *, of_new_lines: bool = False) -> None:
    op.execute(f"ALTER TABLE feature_registry_audit DROP CONSTRAINT {_CHECK}")
    kept = " NOT VALID" if of_new_lines else ""
    op.execute(f"ALTER TABLE feature_registry_audit ADD CONSTRAINT {_CHECK} CHECK (action IN ({actions})){kept}")


def upgrade() -> None:
    """Add the two tables, and what the audit says of an activation that failed."""
    op.create_table(
        "feature_registry_activations",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("previous_version", sa.Text, nullable=False, comment="what was served before"),
        sa.Column("feature_set", sa.Text, nullable=False, comment="fingerprint of the version's file"),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("asked_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("from_row_ns", sa.BigInteger, comment="the last row of the version before"),
        sa.Column("reason", sa.Text, comment="why it failed"),
        sa.PrimaryKeyConstraint("id", name=op.f("feature_registry_activations_pkey")),
        sa.CheckConstraint(
            "state IN ('preparing', 'committed', 'failed', 'taken_back')",
            name=op.f("feature_registry_activations_state_check"),
        ),
    )
    op.create_index(
        "feature_registry_activations_one_at_a_time",
        "feature_registry_activations",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'preparing'"),
    )
    op.create_table(
        "feature_registry_confirmations",
        sa.Column("activation_id", sa.BigInteger, nullable=False),
        sa.Column("worker_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("from_row_ns", sa.BigInteger, comment="the worker's last row of the version before"),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("activation_id", "worker_id", name=op.f("feature_registry_confirmations_pkey")),
        sa.ForeignKeyConstraint(
            ["activation_id"],
            ["feature_registry_activations.id"],
            name=op.f("feature_registry_confirmations_activation_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "state IN ('preparing', 'ready', 'changed', 'serving', 'failed')",
            name=op.f("feature_registry_confirmations_state_check"),
        ),
    )
    _allow(f"{_BEFORE}, 'refuse', 'take_back'")


def downgrade() -> None:
    """Drop them; the audit keeps its lines, those of failures too."""
    _allow(_BEFORE, of_new_lines=True)
    op.drop_table("feature_registry_confirmations")
    op.drop_table("feature_registry_activations")
