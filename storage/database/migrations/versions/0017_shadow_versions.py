"""Registry versions that are served beside the active one, and what a row of each costs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None

_CHECK = "feature_registry_audit_action_check"
_BEFORE = "'create', 'sync', 'activate', 'rollback', 'delete', 'migrate', 'refuse', 'take_back'"


def _allow(actions: str, *, of_new_lines: bool = False) -> None:
    op.execute(f"ALTER TABLE feature_registry_audit DROP CONSTRAINT {_CHECK}")
    kept = " NOT VALID" if of_new_lines else ""
    op.execute(f"ALTER TABLE feature_registry_audit ADD CONSTRAINT {_CHECK} CHECK (action IN ({actions})){kept}")


def upgrade() -> None:
    """Add the columns, and what the audit says of them."""
    shadow = sa.Column(
        "is_shadow", sa.Boolean, nullable=False, server_default=sa.false(), comment="served beside the active one"
    )
    op.add_column("feature_registry_versions", shadow)
    cost = sa.Column("shadow_row_cost_ms", sa.Double, comment="what a row cost when that was accepted")
    op.add_column("feature_registry_versions", cost)
    _allow(f"{_BEFORE}, 'shadow', 'end_shadow'")


def downgrade() -> None:
    """Drop them; the audit keeps its lines."""
    _allow(_BEFORE, of_new_lines=True)
    op.drop_column("feature_registry_versions", "shadow_row_cost_ms")
    op.drop_column("feature_registry_versions", "is_shadow")
