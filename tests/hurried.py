"""Processes of the service on a data folder of a test, with upkeep in a hurry, and commands beside them.

Run as a program it is such a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.cli import app
from runtime.feature_repository import apply_feature_store
from runtime.servers import Servers, running_servers
from runtime.settings import Settings, load_settings
from runtime.sources import SourceChoice
from runtime.wiring import metadata_store
from tests import waiting
from tests.ports import free_port
from upkeep.tasks import COMPACTION, FRESHNESS, PERIODS, RETENTION

SYMBOL = "BTCUSDT"
VERSION = "1.0.0"
ROOT = Path(__file__).parents[1]
DEADLINE_S = 240
SEGMENT_S = 4
HURRIED = (COMPACTION, RETENTION, FRESHNESS)
"""Tasks that run each second."""
Changes = Mapping[str, str]
"""Settings that are not the usual ones."""
USUAL: Changes = {}


def hurried_settings(data: Path, cache: Path, changes: Changes = USUAL) -> Settings:
    return load_settings(_environment(data, cache, changes), env_file=None)


def _environment(data: Path, cache: Path, changes: Changes) -> dict[str, str | None]:
    return {
        "FEATURE_SERVICE_DATA_PATH": str(data),
        "FEATURE_SERVICE_CACHE_PATH": str(cache),
        "FEATURE_SERVICE_SYMBOLS": SYMBOL,
        "FEATURE_SERVICE_RETENTION_DAYS": "1",
        "FEATURE_SERVICE_TAPE_SEGMENT_SECONDS": str(SEGMENT_S),
        "REDIS_HOST": None,
        "POSTGRES_HOST": None,
        "RABBITMQ_HOST": None,
        **changes,
    }


@pytest.fixture
def changes() -> Changes:
    """What a module has another fixture of this name for."""
    return USUAL


@pytest.fixture
def settings(kernel_cache: Path, changes: Changes) -> Iterator[Settings]:
    """Settings of a new data folder."""
    # Not pytest's own folder: another run of it closes the passage that root's PostgreSQL needs to get to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-") as folder:
        yield hurried_settings(Path(folder), kernel_cache.parent, changes)


@pytest.fixture
def servers(settings: Settings) -> Iterator[Servers]:
    """Servers of the test's own process, which the others find and share, with schema and definitions."""
    with running_servers(settings) as found:
        with metadata_store(found):
            pass
        apply_feature_store(settings, found)
        yield found


def serve(data: str, cache: str, roles: str, port: str, speed: str, hurried: str, changes: str) -> None:
    """What the process does, until it is killed or told to stop. speed: of the simulated clock."""
    from runtime.roles import run_roles

    ports = {"FEATURE_SERVICE_METRICS_PORT": port, "FEATURE_SERVICE_PORT": port}
    run_roles(
        hurried_settings(Path(data), Path(cache), {**json.loads(changes), **ports}),
        roles=roles.split(","),
        source=SourceChoice("simulator", speed=float(speed)),
        duration_s=None,
        version=VERSION,
        periods={**PERIODS, **dict.fromkeys(hurried.split(","), timedelta(seconds=1))},
        look_s=1,
    )


class Process:
    """A process of the service, with its log in a file."""

    def __init__(
        self,
        settings: Settings,
        roles: str,
        *,
        speed: float = 1.0,
        program: str = __file__,
        hurried: Sequence[str] = HURRIED,
        changes: Changes = USUAL,
    ) -> None:
        """program: calls ``serve`` with its arguments."""
        self.port = free_port()
        self.log = settings.feature_service_data_path / f"{roles}-{self.port}.log"
        folders = settings.feature_service_data_path, settings.feature_service_cache_path
        arguments = *folders, roles, self.port, speed, ",".join(hurried), json.dumps(changes)
        # As a shell would give it: Feast's import sets a variable for the processes that start from here.
        environ = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        with self.log.open("w") as log:
            self.running = subprocess.Popen(
                [sys.executable, program, *map(str, arguments)],
                cwd=ROOT,
                env=environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        self.running.terminate()
        assert self.running.wait(DEADLINE_S) == 0, self.log.read_text()[-4000:]

    def kill(self) -> None:
        self.running.kill()
        self.running.wait(DEADLINE_S)


@contextmanager
def started(settings: Settings, *roles: str) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        processes = []
        for each in roles:
            process = Process(settings, each)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def eventually(is_so: Callable[[], object], processes: Sequence[Process], *, pause_s: float = 0.02) -> None:
    """Wait until it is so, while the processes live."""

    def look() -> object:
        for process in processes:
            assert process.running.poll() is None, process.log.read_text()[-4000:]
        return is_so()

    waiting.eventually(look, deadline_s=DEADLINE_S, pause_s=pause_s)


def command(settings: Settings, *arguments: str, changes: Changes = USUAL) -> tuple[int, Any]:
    """Exit code and the document of a command with ``--json`` on the data folder; in this process, which has imported.

    Raises what ends the command.
    """
    given = _environment(settings.feature_service_data_path, settings.feature_service_cache_path, changes)
    answer = CliRunner().invoke(app, [*arguments, "--json"], env=given, catch_exceptions=False)
    assert answer.stdout, answer.stderr
    return answer.exit_code, json.loads(answer.stdout)


if __name__ == "__main__":
    serve(*sys.argv[1:])
