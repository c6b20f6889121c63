"""Datasets in HDF5, which is written no more: they cannot be read back."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say so in their records, whose request would not be understood; their files stay where they are."""
    op.execute(
        """
        UPDATE datasets
        SET request = jsonb_set(request, '{output_format}', '"parquet"'),
            status = CASE status WHEN 'ready' THEN 'failed' ELSE status END,
            error_message = 'output_format: must be parquet or csv, was hdf5: ask for the dataset again'
        WHERE request ->> 'output_format' = 'hdf5'
        """
    )


def downgrade() -> None:
    """Nothing: what the format was is not known any more."""
