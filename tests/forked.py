"""Processes that a test kills, forked from one that has imported what they need: to start one takes milliseconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from ingestion.tape.compaction import compact_tape
from storage.instruments import InstrumentPins
from storage.places import place_of
from training_sets.dataset.datasets import Datasets


def forked(work: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A started process; its exit code is 0 once ``work`` has returned. Nothing of this process's threads is in it."""
    context: ForkServerContext = get_context("forkserver")
    # Without the main module each would run it again, which is pytest's.
    context.set_forkserver_preload(["__main__", __name__, "tests.warmed"])
    # The server that forks may have been started before a test set variables.
    process = context.Process(target=_run, args=(dict(os.environ), work, *arguments))
    process.start()
    return process


def _run(environment: dict[str, str], work: Callable[..., object], *arguments: object) -> None:
    os.environ.update(environment)
    work(*arguments)


def publish_dataset(address: str, attempts: Path, attempt: Path) -> None:
    """Publish a finished attempt at a dataset."""
    Datasets(place_of(address), attempts).finish("d17", attempt)


def compact(taped: Path, symbol: str, address: str) -> None:
    """Compact a tape to an address."""
    compact_tape(taped, symbol, InstrumentPins(taped), place=place_of(address))
