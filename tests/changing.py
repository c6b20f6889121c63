"""Workers that change their version under load: in processes of their own, and what they served, looked at together."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version
from market.clock import SECOND_NS
from quality.parity import Parity
from registry.life_cycle import RegistryLifeCycle
from registry.states import Asked
from runtime.active_version import version_to_serve
from runtime.ingest_role import IngestRole
from runtime.servers import Servers
from runtime.serving import registry_life_cycle
from runtime.settings import Settings, load_settings
from runtime.sources import SourceChoice
from runtime.stores import open_stores
from runtime.wiring import compiled_kernel, metadata_store
from storage.features.log import FeatureLog
from tests.waiting import eventually
from training_sets.builds.verification import verify_parity

BY_ANNA = Asked(origin="test", made_by="anna", reason="to see")


def write_version(folder: Path, version: str, names: Mapping[str, str], **entries: object) -> None:
    """A registry file of features, each given with its source, "" for none. entries: of every feature."""
    common = {"lookback_window": "1m", "lookahead_forbidden": True, "max_lookback_days": 1, **entries}
    features = [{"name": name, "input_sources": [source] if source else [], **common} for name, source in names.items()]
    (folder / f"{version}.yaml").write_text(yaml.safe_dump({"version": version, "features": features}))


def versions_folder(folder: Path) -> Path:
    """A folder with the shipped versions, to write others into."""
    return shutil.copytree(SHIPPED_FOLDER, folder / "registry")


@contextmanager
def life_cycle(settings: Settings, servers: Servers) -> Iterator[RegistryLifeCycle]:
    with metadata_store(servers) as metadata, registry_life_cycle(settings, servers, metadata) as cycle:
        yield cycle


class WorkerProcess:
    """An ingest role that follows the active version, in a process that can be killed, and is once nobody wants it."""

    def __init__(self, changes: Mapping[str, str | None], servers: Servers) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._results = context.Event(), context.Queue()
        self._process = context.Process(target=_run, args=(dict(changes), servers, self._stop, self._results))
        self._process.start()
        # It has processes of its own, so that it cannot be a daemon: an interrupted test would wait for it forever.
        atexit.register(self.kill)
        assert self._results.get(timeout=300) == "ready"

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def stand_still(self) -> None:
        """Like a machine that sleeps: it does nothing, and nobody is told."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def end(self) -> dict[str, Any]:
        """Stop it; its status, and its memory in MB each second."""
        self._stop.set()
        found: dict[str, Any] = self._results.get(timeout=60)
        self._process.join(60)
        return found


@contextmanager
def two_workers(
    changes: Mapping[str, str | None], cycle: RegistryLifeCycle, servers: Servers, version: str
) -> Iterator[list[WorkerProcess]]:
    """Workers that have a half of the symbols each and serve a version."""
    cycle.activate(version, BY_ANNA, is_acknowledged=True)
    with ExitStack() as stack:
        workers: list[WorkerProcess] = []
        for number in (1, 2):
            # One after the other: a lease that is not renewed while its worker opens would be the next one's to take.
            workers.append(WorkerProcess(changes, servers))
            stack.callback(workers[-1].kill)
            eventually(partial(_have_reported, cycle, number), deadline_s=300.0)
        yield workers


def _have_reported(cycle: RegistryLifeCycle, workers: int) -> bool:
    return len(cycle.said()[1]) == workers


def _run(changes: Mapping[str, str | None], servers: Servers, stop: Event, results: Any) -> None:  # noqa: ANN401  # a queue
    settings = load_settings(changes, env_file=None)
    with life_cycle(settings, servers) as cycle:
        version = version_to_serve(cycle, settings, given=None)
    role = IngestRole(settings, servers, SourceChoice("gateway"), version=version, follows=True)
    running = threading.Thread(target=role.run)
    running.start()
    results.put("ready")
    memory_mb = []
    while not stop.wait(1.0):
        memory_mb.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    results.put({"status": role.status(), "memory_mb": memory_mb})
    role.stop()
    running.join()


def parity_of(
    settings: Settings, version: str, symbols: Sequence[str] | None = None, *, log: FeatureLog | None = None
) -> Parity:
    """What ``verify parity`` finds of a version; log: another than the feature log."""
    stores = open_stores(settings)
    return verify_parity(stores.raw, log or stores.features, compiled_kernel(settings, version), symbols)


def seconds_served(settings: Settings, symbol: str, versions: Sequence[str]) -> dict[str, list[int]]:
    """By version the whole seconds that the log has its rows of; of columns that it shares, others' rows count too."""
    return {version: _served(settings, symbol, version)[0].tolist() for version in versions}


def delays_s(settings: Settings, symbol: str, version: str) -> npt.NDArray[np.float64]:
    """Of each row that ``seconds_served`` tells, how long after its time it could be read, s."""
    row_ns, available_ns = _served(settings, symbol, version)
    return (available_ns - row_ns) / SECOND_NS


def _served(settings: Settings, symbol: str, version: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row times and when the rows could be read."""
    chosen = load_registry_version(version, settings.feature_registry_versions_dir).feature_set
    log = FeatureLog(settings.feature_log_storage_path)
    rows, available_ns = log.read(symbol, chosen, from_ns=None, to_ns=None, served_only=True, whole_only=True)
    return rows.row_ns, available_ns


def assert_without_a_hole(times: Sequence[int]) -> None:
    """Every second from the first to the last is there."""
    steps = np.diff(sorted(set(times)))
    assert (steps == SECOND_NS).all(), steps[steps != SECOND_NS]
