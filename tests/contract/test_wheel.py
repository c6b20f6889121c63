"""The wheel: what a service needs that is installed without its checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.images import copied_to_build

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".*", "build", "data", "*.egg-info", "__pycache__", "htmlcov")


@pytest.mark.soak
def test_the_wheel_holds_every_file_that_a_service_reads(tmp_path: Path) -> None:
    # Of what the image's build copies, no more: what is missing there is missed here.
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in copied_to_build((ROOT / "deploy" / "Dockerfile").read_text()):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copy(ROOT / name, checkout / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(tmp_path), str(checkout)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    held = {name.partition(".data/data/")[2] or name for name in zipfile.ZipFile(wheel).namelist()}
    folders = ("feature_repo/registry/*.yaml", "storage/database/migrations/versions/*.py", "api/console_assets/*")
    for pattern in folders:
        shipped = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
        assert len(shipped) > 5
        assert shipped <= held
    monitoring = ("alerts.yml", "grafana/feature-service.json", "grafana/upkeep.json")
    assert {f"share/feature-service/{name}" for name in monitoring} <= held
    assert not {name for name in held if name.startswith(("tests/", "examples/", "benchmarks/"))}
