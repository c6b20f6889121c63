"""Dataset builds as jobs: procrastinate's tables in a schema of their own, attempts, notices and measured builds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "jobs"


def upgrade() -> None:
    """Add the columns, the tables and the schema of the queue."""
    op.add_column("datasets", sa.Column("request_hash", sa.Text))
    op.add_column("datasets", sa.Column("step", sa.Text))
    op.add_column("datasets", sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("datasets", sa.Column("trace_id", sa.Text))
    op.add_column("datasets", sa.Column("announced_at", sa.TIMESTAMP(timezone=True)))
    op.execute("UPDATE datasets SET announced_at = updated_at WHERE status <> 'building'")
    op.create_index(
        "datasets_one_build_of_a_request",
        "datasets",
        ["request_hash"],
        unique=True,
        postgresql_where=sa.text("status = 'building'"),
    )
    op.create_table(
        "dataset_building_metrics",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("symbols", ARRAY(sa.Text), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sa.Column("days_computed", sa.Integer, nullable=False, comment="symbol-days whose features were missing"),
        sa.Column("days_reused", sa.Integer, nullable=False),
        sa.Column("features_seconds", sa.Double, nullable=False, comment="making sure that the features exist"),
        sa.Column("build_seconds", sa.Double, nullable=False, comment="everything after that"),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("dataset_building_metrics_pkey")),
    )
    op.create_index("dataset_building_metrics_finished_at", "dataset_building_metrics", ["finished_at"])
    connection = op.get_bind()
    path = connection.exec_driver_sql("SHOW search_path").scalar_one()
    op.execute(f"CREATE SCHEMA {SCHEMA}")
    op.execute(f"SET LOCAL search_path TO {SCHEMA}")
    connection.exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))
    connection.exec_driver_sql(f"SET LOCAL search_path TO {path}")


def downgrade() -> None:
    """Drop all of it; jobs that wait are lost, their datasets' records stay."""
    op.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    op.drop_table("dataset_building_metrics")
    op.drop_index("datasets_one_build_of_a_request", "datasets")
    for column in ("announced_at", "trace_id", "attempt", "step", "request_hash"):
        op.drop_column("datasets", column)
