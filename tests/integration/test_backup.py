"""A backup made word for word as docs/operations.md says while messages arrive, and put to use at another place."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sinks.sinks import FeatureLogSink
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from ingestion.tape.report import verify_tape
from market.clock import SECOND_NS, parse_iso_ns
from quality.parity import Parity
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.code_blocks import blocks, shell_lines
from tests.conftest import not_installed
from tests.pipelines import pipeline_in
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory
from transforms.kernel import Kernel, compile_kernel

SYMBOL = DEFAULT_SYMBOLS[0].symbol
# Over the end of an hour, where the tape begins another segment.
START_NS = parse_iso_ns("2026-01-05T12:59:40")
DURATION_S = 40
TO_COPY, TO_RESTORE = (
    shell_lines(each) for each in blocks() if each.page == "docs/operations.md" and "backup/" in each.text
)


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)


@pytest.fixture(autouse=True)
def rsync() -> None:
    """What the page copies with."""
    if shutil.which("rsync") is None:
        not_installed("rsync")


def files_alone(lines: Sequence[str]) -> list[str]:
    """Those that need no database."""
    return [line for line in lines if not line.startswith("feature-service")]


def copied(folder: Path, kernel: Kernel, lines: Sequence[str]) -> None:
    """The lines, each after some more seconds of the market, all of them durable, compacted and in the feature log."""
    raw = folder / "data" / "raw"
    log = FeatureLogWriter(folder / "data" / "features")
    pipeline = pipeline_in(raw, kernel, FeatureLogSink(log))
    messages = list(simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=DURATION_S * SECOND_NS))
    some = len(messages) // (len(lines) + 1)
    try:
        for at, line in enumerate(lines):
            play(pipeline, messages[at * some : (at + 1) * some])
            assert all(lane.durability()(60.0) for lane in pipeline.lanes.values())
            log.flush()
            compact_tape(raw, SYMBOL, InstrumentPins(raw))
            subprocess.run(["bash", "-c", line], cwd=folder, check=True)  # noqa: S607
        play(pipeline, messages[len(lines) * some :])
    finally:
        pipeline.close()


def restored(folder: Path) -> Path:
    """The data folder that is made of the backup at another place."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "backup").rename(elsewhere / "backup")
    for line in files_alone(TO_RESTORE):
        subprocess.run(["bash", "-c", line], cwd=elsewhere, check=True)  # noqa: S607
    return elsewhere / "data"


def parity(data: Path, kernel: Kernel) -> Parity:
    compact_tape(data / "raw", SYMBOL, InstrumentPins(data / "raw"))
    return verify_parity(RawHistory.of(RawData(data / "raw")), FeatureLog(data / "features"), kernel)


def test_what_is_copied_while_messages_arrive_follows_from_its_tape(tmp_path: Path, kernel: Kernel) -> None:
    copied(tmp_path, kernel, files_alone(TO_COPY))
    data = restored(tmp_path)
    found = parity(data, kernel)
    assert found.is_exact
    assert found.compared > 0
    assert verify_tape(data / "raw", SYMBOL, InstrumentPins(data / "raw")).findings == []


def test_rows_that_are_copied_after_the_tape_lack_their_messages(tmp_path: Path, kernel: Kernel) -> None:
    made, *copies = files_alone(TO_COPY)
    copied(tmp_path, kernel, [f"{made} backup/raw", *reversed(copies)])
    assert parity(restored(tmp_path), kernel).mismatched > 0
