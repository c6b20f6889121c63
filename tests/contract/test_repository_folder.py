"""The shell lines of a Feast user, typed in ``feature_repo/`` of a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from feast import FeatureStore

from feature_repo.apply import plan
from feature_repo.definitions import DEFAULT_FEATURES_FOLDER, definitions
from tests.redis_servers import own_project

TREE = Path(__file__).parents[2]
SETUP = """
# Initialize feature repo
cd feature_repo
feast apply
"""
MATERIALIZE = """
# Materialize features to online store
feast materialize-incremental $(date +%Y-%m-%d)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What those lines need of a checkout, in which nothing was run."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TREE / "feature_repo", tmp_path / "feature_repo", symlinks=True, ignore=ignored)
    for name in ("feature_store.yaml", ".feastignore"):
        shutil.copy(TREE / name, tmp_path / name)
    (tmp_path / "data").mkdir()  # a checkout has it: where an image is tested, it is not copied
    return tmp_path


def run(lines: str, folder: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}:{TREE}",
    }
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", lines],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def is_as_defined(folder: Path) -> bool:
    """Whether the registry that the folder's yaml names holds the definitions, each as it is."""
    objects = definitions(features_folder=Path(DEFAULT_FEATURES_FOLDER))
    changes = plan(FeatureStore(repo_path=str(folder)), objects)
    return {each.action for each in changes} == {"unchanged"}


def test_every_module_of_ours_is_left_out_but_the_one_with_the_definitions() -> None:
    folder = TREE / "feature_repo"
    ours = {path.name for path in folder.glob("*.py")} - {"__init__.py", "repository.py"}
    lines = (folder / ".feastignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == sorted(ours)


def test_feast_apply_in_the_folder_of_definitions_registers_what_it_does_at_the_root(checkout: Path) -> None:
    run(SETUP, checkout)
    assert is_as_defined(checkout)
    assert is_as_defined(checkout / "feature_repo")
    assert [path.name for path in (checkout / "data").iterdir()] == ["registry.db"]


@pytest.mark.soak
def test_the_lines_of_the_setup_run_as_written_and_so_they_do_at_the_root(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "feature_store.yaml").read_text())
    with own_project("checkout") as project:
        (checkout / "feature_store.yaml").write_text(yaml.safe_dump(config | {"project": project}))
        for _ in range(2):
            run(SETUP + MATERIALIZE, checkout)
        assert is_as_defined(checkout)
        (checkout / "data" / "registry.db").unlink()
        run("feast apply", checkout)
        assert is_as_defined(checkout / "feature_repo")
