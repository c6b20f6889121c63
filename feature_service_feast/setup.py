"""Builds the package: modules of feature_repo and market under one name of their own."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NAME = "feature_service_feast"
ROOT = Path(__file__).resolve().parents[1]
SHIPPED = {
    "feature_repo": [
        "as_of_join",
        "asked_view",
        "entity_files",
        "entity_rows",
        "feast_version",
        "gathering",
        "iceberg_files",
        "logged_features",
        "monitoring",
        "named_files",
        "newest_wins",
        "offline_store",
        "online_store",
        "parquet_errors",
        "parquet_pruning",
        "parquet_source",
        "parquet_writing",
        "read_ahead",
        "retrieval",
        "retrieval_job",
        "selected_files",
        "source_rows",
        "tick_join",
        "view_join",
    ],
    "market": ["clock", "errors", "written_order"],
}
MODULE = re.compile(
    rf"\b(?:feature_repo|market)\.(?={'|'.join(name for names in SHIPPED.values() for name in names)}\b)"
)


class Build(build_py):  # type: ignore[misc]  # it has no types
    """Writes each module with its neighbours' new names."""

    def run(self) -> None:
        target = Path(self.build_lib) / NAME
        target.mkdir(parents=True, exist_ok=True)
        (target / "__init__.py").write_text('"""Stores for Feast, of Feature Service."""\n', encoding="utf-8")
        for folder, names in SHIPPED.items():
            for name in names:
                text = (ROOT / folder / f"{name}.py").read_text(encoding="utf-8")
                (target / f"{name}.py").write_text(MODULE.sub(f"{NAME}.", text), encoding="utf-8")


setup(cmdclass={"build_py": Build})
