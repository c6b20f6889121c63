"""The scripts do what the commands do that they call."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import pytest

from feature_repo.registry_versions import SHIPPED_FOLDER
from runtime.commands.options import settings_for
from runtime.servers import running_servers

ROOT = Path(__file__).parents[2]


def run_script(name: str, *options: str) -> int:
    """Its exit code; in this process, since importing takes longer than what it does."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return int(module.main([*options]))


def test_the_minimal_set_is_activated_and_the_data_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    # Not pytest's folder: root's PostgreSQL must be able to pass through to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-") as name:
        versions = Path(name) / "registry"
        versions.mkdir()
        for path in SHIPPED_FOLDER.glob("*.yaml"):
            (versions / path.name).write_bytes(path.read_bytes())
        monkeypatch.setenv("FEATURE_REGISTRY_VERSIONS_DIR", str(versions))
        with running_servers(settings_for(Path(name))):
            assert run_script("create_minimal_feature_set_version", "--data", name, "--json") == 0
            recorded, activated = map(json.loads, capsys.readouterr().out.splitlines())
            assert (recorded["version"], activated["version"]) == ("1.2.0", "1.2.0")
            assert run_script("check_feature_service_data", "--data", name, "--tape") == 1
            assert "No such option" in capsys.readouterr().err
            run_script("check_feature_service_data", "--data", name)
    headings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("== ")]
    assert headings == ["== status", "== tape stats", "== dataset list"]
