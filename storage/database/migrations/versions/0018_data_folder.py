"""The folder of raw data that the database belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "data_folder",
        sa.Column("is_the_one", sa.Boolean, server_default=sa.true(), comment="there is one row"),
        sa.Column("folder_id", sa.Uuid, nullable=False, comment="in a file of the folder of raw data"),
        sa.Column("path", sa.Text, nullable=False, comment="where it was last, on its host"),
        sa.Column("host", sa.Text, nullable=False),
        sa.CheckConstraint("is_the_one", name=op.f("data_folder_is_the_one_check")),
        sa.PrimaryKeyConstraint("is_the_one", name=op.f("data_folder_pkey")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("data_folder")
