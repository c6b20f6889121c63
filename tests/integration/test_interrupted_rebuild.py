"""A rebuild that is interrupted or killed leaves whole days, and the next one goes on from there to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, utc_date
from storage.features.log import FeatureLog
from storage.file_locks import exclusive
from storage.places import local
from storage.raw.raw_data import RawData
from tests import waiting
from tests.many_days import BEGIN_NS, write_days
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.runs import lock_of

DAYS = 8
"""More than one process computes in one run, so that the last day has a lock of its own."""
DEADLINE_S = 120.0
REBUILD = ("rebuild", "--symbol", "BTCUSDT", "--registry", "1.0.0", "--json")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_days(tmp_path / "data" / "raw", ["BTCUSDT"], DAYS)
    return tmp_path / "data"


def started(data: Path, workers: int) -> subprocess.Popen[str]:
    """A rebuild in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from runtime.cli import main; main()",
            *REBUILD,
            "--workers",
            str(workers),
            "--data",
            str(data),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )


def rebuilt_files(data: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted((data / "features").rglob("*"))
        if path.is_file() and path.parent.name != ".rebuilding"  # locks, which hold nothing
    }


def eventually(is_true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until it is so, at the longest until the process has ended."""
    waiting.eventually(lambda: is_true() or process.poll() is not None, deadline_s=DEADLINE_S, pause_s=0.002)
    assert is_true(), process.communicate()


def whole_rebuild(data: Path) -> tuple[dict[str, int], str]:
    process = started(data, 1)
    out, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    return json.loads(out), errors


def lock_of_last_day(data: Path) -> Path:
    chosen = load_registry_version("1.0.0").feature_set
    rebuild = Rebuild(RawData(data / "raw"), FeatureLog(data / "features"), data / "cache", "BTCUSDT", chosen)
    return local(lock_of(rebuild, utc_date(BEGIN_NS + (DAYS - 1) * DAY_NS)))


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_ctrl_c_ends_a_rebuild_cleanly_and_the_next_one_goes_on(data: Path, workers: int) -> None:
    with exclusive(lock_of_last_day(data)):  # so that the rebuild cannot be over before it is interrupted
        process = started(data, workers)
        eventually(lambda: any((data / "features").rglob("rebuilt-*.parquet")), process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "the same command continues from there" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    interrupted = rebuilt_files(data)
    assert all(Path(name).name.startswith("rebuilt-") for name in interrupted)
    days = {name.split("date=")[1][:10] for name in interrupted}
    assert 0 < len(days) < DAYS

    document, errors = whole_rebuild(data)
    assert document["days"] == DAYS
    assert 0 < document["days_computed"] < DAYS
    assert f"{DAYS} of {DAYS} days, done" in errors
    assert "s left" in errors
    resumed = rebuilt_files(data)
    assert {name: resumed[name] for name in interrupted} == interrupted
    (data / "features").rename(data / "features before")
    assert whole_rebuild(data)[0]["days_computed"] == DAYS
    assert rebuilt_files(data) == resumed


@pytest.mark.soak
def test_a_rebuild_killed_at_random_points_is_completed_by_the_next_one(data: Path) -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        before = len(rebuilt_files(data))
        process = started(data, 1)
        eventually(lambda before=before: len(rebuilt_files(data)) > before, process)  # type: ignore[misc]  # a default binds the loop
        with suppress(subprocess.TimeoutExpired):
            process.wait(float(rng.uniform(0, 0.3)))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)
    document, _ = whole_rebuild(data)
    assert document["days"] == DAYS
    rows = {name: content for name, content in rebuilt_files(data).items() if Path(name).name.startswith("rebuilt-")}
    assert len({name.split("date=")[1][:10] for name in rows}) == DAYS
    (data / "features").rename(data / "features before")
    assert whole_rebuild(data)[0]["rows"] == DAYS * DAY_NS // SECOND_NS - MINUTE_NS // SECOND_NS
    assert rebuilt_files(data) == rows
