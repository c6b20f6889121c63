"""Commands that change something tell what they did as one JSON document."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feature_repo.registry_versions import SHIPPED_FOLDER
from runtime.cli import app
from runtime.commands.options import settings_for
from runtime.servers import running_servers


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Data of a service of its own, whose servers run; root's PostgreSQL could not pass through pytest's folder."""
    with tempfile.TemporaryDirectory(prefix="fs-") as name, pytest.MonkeyPatch.context() as patch:
        versions = Path(name) / "registry"
        versions.mkdir()
        for path in SHIPPED_FOLDER.glob("*.yaml"):
            (versions / path.name).write_bytes(path.read_bytes())
        patch.setenv("FEATURE_SERVICE_DATA_PATH", name)
        patch.setenv("FEATURE_REGISTRY_VERSIONS_DIR", str(versions))
        with running_servers(settings_for(None)):
            yield Path(name)


def answer(*arguments: str | Path) -> Any:  # noqa: ANN401  # any JSON
    answered = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert answered.exit_code == 0, answered.output
    return json.loads(answered.stdout)


def test_the_schema_goes_down_and_up(folder: Path) -> None:
    assert answer("db", "upgrade") == {"revision": "head"}
    assert answer("db", "downgrade", "base", "--yes") == {"revision": "base"}
    assert answer("db", "upgrade") == {"revision": "head"}


def test_a_silence_tells_its_end(folder: Path) -> None:
    told = answer("alerts", "silence", "symbol_silent", "--subject", "XRPUSDT", "--reason", "halted")
    until = told.pop("silenced_until")
    assert told == {"rule": "symbol_silent", "subject": "XRPUSDT", "reason": "halted"}
    assert until.endswith("Z")


def test_a_version_is_made_and_deleted(folder: Path) -> None:
    file = folder / "new.yaml"
    file.write_text((SHIPPED_FOLDER / "1.2.0.yaml").read_text().replace("version: 1.2.0", "version: 9.9.0"))
    assert answer("registry", "create", file)["version"] == "9.9.0"
    assert answer("registry", "delete", "9.9.0", "--yes") == {"version": "9.9.0", "deleted": True}
    assert "9.9.0" not in {row["version"] for row in answer("registry", "list")}
