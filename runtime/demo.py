"""The demonstration: a simulated market from its first message to a live vector, a proof and a training set.

1. Embedded Redis and PostgreSQL start in the folder, and the definitions are registered with Feast. Meanwhile another
   process records ten minutes of two symbols as the exchange would send them, and one more compiles the kernel where
   the machine has never had it.
2. The recording runs through the pipeline at full speed.
3. Another process, with Feast's SDK alone, which it imports meanwhile, reads the newest vector of each symbol.
4. The tape is compacted to raw Parquet, the rows are rebuilt from it and compared with those served, bit by bit.
5. A dataset is built through Feast's historical retrieval.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from feature_repo.registry_versions import service_name
from ingestion.pipeline.served_rows import ServedRows, available_as_if_live
from ingestion.sinks.sinks import OnlineSink
from ingestion.sources.played.play import play
from ingestion.sources.played.recordings import read_recording
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS
from market.errors import CorruptStore
from runtime.building import dataset_builds
from runtime.commands.progress import Steps
from runtime.demo_market import DURATION_NS, START_NS, Recording
from runtime.feature_repository import apply_feature_store
from runtime.kernel_start import compiling_beside, warm_up
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.stores import open_stores
from runtime.wiring import compiled_kernel, make_pipeline, online_store
from training_sets.builds.verification import verify_parity
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet

LABEL_HORIZON_NS: Final = 30 * SECOND_NS

_READ_WITH_FEAST_ALONE: Final = """\
import gc, json, sys, typeguard
gc.disable()  # an import looks for garbage a quarter of its time, and this process ends soon
# Feast's own checks of its classes, left out as in feature_repo: they are 3 of 5 seconds of a processor of its import.
typeguard.typechecked = lambda target=None, **_options: target if target is not None else lambda each: each
from feast import FeatureStore
rows = [{"symbol": symbol} for symbol in json.loads(sys.stdin.readline())]
store = FeatureStore(repo_path=sys.argv[1])
service = store.get_feature_service(sys.argv[2])
print(json.dumps(store.get_online_features(features=service, entity_rows=rows).to_dict()))
"""


class _TimedSink:
    """A sink that passes rows on, keeps the newest of each symbol and how long each write took, in seconds."""

    def __init__(self, sink: OnlineSink) -> None:
        self.write_seconds: list[float] = []
        self.newest: dict[str, FeatureRows] = {}
        self._sink = sink

    def write(self, served: Sequence[ServedRows]) -> None:
        begun = time.perf_counter()
        self._sink.write(served)
        self.write_seconds.append(time.perf_counter() - begun)
        self.newest.update((each.rows.symbol, each.rows) for each in served)

    def close(self) -> None:
        self._sink.close()


def run_demo(
    settings: Settings, servers: Servers, recording: Recording, *, version: str, steps: Steps
) -> dict[str, Any]:
    """Run the demonstration in the settings' folders; the processes that it started have ended when it returns.

    Raises CorruptStore when what Feast reads or what is rebuilt is not, bit for bit, what was served.
    """
    kernel = compiled_kernel(settings, version)
    with ExitStack() as beside:
        beside.enter_context(compiling_beside(kernel))
        reader = beside.enter_context(_feast_alone(settings, kernel.feature_set))
        steps.begin("registering features with Feast")
        apply_feature_store(settings, servers)
        steps.begin("loading the kernel")
        warm_up(kernel, steps.tell)
        sink = _TimedSink(OnlineSink(online_store(servers)))
        steps.begin("recording the rest of ten minutes of two symbols")
        recording.wait()
        played = _play(settings, recording.path, kernel, sink, steps)
        symbols = list(sink.newest)
        steps.begin("reading the live vector with Feast alone, in another process")
        online = _read_with_feast_alone(reader, kernel.feature_set, symbols)
        _check_online(online, sink.newest)
        steps.begin("rebuilding from raw Parquet and comparing bit for bit")
        stores = open_stores(settings)
        for symbol in symbols:
            compact_tape(settings.raw_folder, symbol, stores.pins, place=settings.raw_data_storage_path)
        parity = verify_parity(stores.raw, stores.features, kernel)
        if not parity.is_exact:
            raise CorruptStore(f"parity: every rebuilt row must equal the served one, was {parity}")
        steps.begin("building a dataset")
        with dataset_builds(settings, servers, stores) as builds:
            dataset = builds.build(_dataset_request(symbols, version))
        milliseconds = np.asarray(sink.write_seconds) * 1e3
    return {
        "rows": played["rows"],
        "symbols": symbols,
        "features": len(kernel.feature_set.columns),
        "messages": played["messages"],
        "messages_per_second": played["messages_per_second"],
        "push_ms": {
            "p50": round(float(np.percentile(milliseconds, 50)), 3),
            "p99": round(float(np.percentile(milliseconds, 99)), 3),
        },
        "parity": {
            "compared": parity.compared,
            "mismatched": parity.mismatched,
            "missing": parity.missing,
            "extra": parity.extra,
        },
        "online": online,
        "dataset": {**dataset.records, "path": str(dataset.place)},
        "files": {
            "tape": str(settings.raw_folder / "tape"),
            "raw": str(settings.raw_data_storage_path),
            "features": str(settings.feature_log_storage_path),
            "datasets": str(settings.dataset_storage_path),
            "recording": str(recording.path),
        },
    }


def _play(settings: Settings, recording: Path, kernel: Kernel, sink: _TimedSink, steps: Steps) -> dict[str, Any]:
    """Ten recorded minutes through the pipeline."""
    steps.begin("playing ten minutes of two symbols", total=DURATION_NS)
    pipeline = make_pipeline(settings, kernel, sinks=[sink], availability=available_as_if_live)
    begun = time.perf_counter()
    try:
        reached = _each_second(lambda recv_ns: steps.reach(recv_ns - START_NS))
        play(pipeline, read_recording(recording), on_message=reached)
    finally:
        pipeline.close()
    counters = pipeline.counters
    if counters.rejected or pipeline.gaps:
        raise CorruptStore(
            f"simulated market: must be read completely, was {counters.rejected} rejected, {pipeline.gaps} gaps"
        )
    return {
        "rows": counters.rows,
        "messages": counters.messages,
        "messages_per_second": round(counters.messages / (time.perf_counter() - begun)),
    }


def _each_second(report: Callable[[int], None]) -> Callable[[int], None]:
    """``report`` at most once a second of received time."""
    last = 0

    def on_message(recv_ns: int) -> None:
        nonlocal last
        if recv_ns - last >= SECOND_NS:
            last = recv_ns
            report(recv_ns)

    return on_message


@contextmanager
def _feast_alone(settings: Settings, chosen: FeatureSet) -> Iterator[subprocess.Popen[str]]:
    """A process that has Feast and one yaml: it imports Feast, which takes seconds, while others do something else."""
    data = settings.feature_service_data_path.resolve()
    command = [sys.executable, "-I", "-c", _READ_WITH_FEAST_ALONE, str(data / "client"), service_name(chosen.version)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=data, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as reader:  # noqa: S603  # our own interpreter and arguments
        try:
            yield reader
        finally:
            reader.kill()


def _read_with_feast_alone(
    reader: subprocess.Popen[str], chosen: FeatureSet, symbols: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The newest vector of each symbol, as that process reads it once it is asked."""
    answer, complaint = reader.communicate(json.dumps(symbols) + "\n")
    if reader.returncode != 0:
        raise CorruptStore(f"Feast in another process: must read the online store, was\n{complaint[-2000:]}")
    columns = json.loads(answer)
    return {
        symbol: {column: columns[column][at] for column in chosen.columns}
        for at, symbol in enumerate(columns["symbol"])
    }


def _check_online(online: dict[str, dict[str, Any]], newest: dict[str, FeatureRows]) -> None:
    """What Feast read must be the last row served, bit for bit; unknown is None there and NaN here."""
    for symbol, rows in newest.items():
        for column, value in zip(rows.feature_set.columns, rows.values[-1], strict=True):
            read = online[symbol][column]
            if (read is None) != bool(np.isnan(value)) or (read is not None and read != value):
                raise CorruptStore(f"{symbol} {column}: must be read by Feast as served, {value!r}, was {read!r}")


def _dataset_request(symbols: Sequence[str], version: str) -> DatasetRequest:
    return DatasetRequest(
        symbols=tuple(symbols),
        strategy=TimeBased(default_periods(START_NS + MINUTE_NS, START_NS + DURATION_NS)),
        targets=(RegressionTarget(LABEL_HORIZON_NS),),
        registry_version=version,
    )
