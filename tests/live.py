"""An ingest role on real servers inside the test's process, and what it served, read back from where it wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from feature_repo.project import PROJECT
from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.marks import GAP_REASON
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import ServedRows, available_as_if_live
from ingestion.sources.played.play import play
from market.clock import Clock
from runtime.ingest_role import IngestRole
from runtime.servers import Servers
from runtime.settings import Settings, load_settings
from runtime.sources import SourceChoice
from storage.instruments import InstrumentPins
from storage.online.store import OnlineStore
from storage.tape import Frame, read_tape
from tests import waiting
from tests.broker import Broker
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows
from transforms.state import ORDER_NS

VERSION = "1.0.0"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
DEADLINE_S = 60.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S)
NO_EXCHANGE = "http://127.0.0.1:9"
"""Refuses every connection: no test may ask the real one."""


def live_settings(data: Path, broker: Broker, kernel_cache: Path, symbols: str, **changes: str | None) -> Settings:
    return load_settings(
        {
            "FEATURE_SERVICE_DATA_PATH": str(data),
            "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
            "FEATURE_SERVICE_SYMBOLS": symbols,
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": str(broker.port),
            "FEATURE_SERVICE_TAPE_SYNC_MS": "20",
            "BYBIT_REST_URL": NO_EXCHANGE,
            **changes,
        },
        env_file=None,
    )


class LiveIngest:
    """The role in a thread."""

    def __init__(
        self,
        settings: Settings,
        servers: Servers,
        *,
        machine: Clock | None = None,
        version: str = VERSION,
        follows: bool = False,
    ) -> None:
        self.role = IngestRole(
            settings, servers, SourceChoice("gateway"), version=version, follows=follows, machine=machine
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live ingest", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.role.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the role must end"

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        return self.role.status()

    def _run(self) -> None:
        try:
            self.role.run()
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.error = error


@contextmanager
def running(
    settings: Settings, servers: Servers, *, version: str = VERSION, follows: bool = False
) -> Iterator[LiveIngest]:
    ingest = LiveIngest(settings, servers, version=version, follows=follows)
    ingest.start()
    try:
        yield ingest
    finally:
        ingest.stop()
    if ingest.error is not None:
        raise ingest.error


class Newest:
    """A sink that keeps every row."""

    def __init__(self) -> None:
        self.rows: dict[str, list[FeatureRows]] = {}

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            self.rows.setdefault(each.rows.symbol, []).append(each.rows)

    def close(self) -> None:
        """Nothing is held."""


def taped(raw: Path, symbol: str) -> list[Frame]:
    """The frames of a tape in the order in which they are applied: slot by slot, then as they came.

    But for the first, with which the history begins: the queues are drained side by side, and one that came later may
    state an earlier time of the same second.
    """
    first, *others = read_tape(raw, symbol)
    return [first, *sorted(others, key=lambda frame: frame.recv_ns // ORDER_NS)]


def replayed(raw: Path, symbol: str, kernel: Kernel, scratch: Path, *, until_ns: int) -> FeatureRows:
    """The rows of a replay of what is on the tape, with the stamps that it was given."""
    sink = Newest()
    pins = InstrumentPins(scratch)
    instrument = InstrumentPins(raw).get(symbol)
    assert instrument is not None
    pins.declare(replace(instrument))
    pipeline = Pipeline(
        kernel,
        pins,
        raw_folder=scratch,
        dead_letter=DeadLetter(scratch / "dead_letter.jsonl"),
        sinks=[sink],
        availability=available_as_if_live,
    )
    messages = [
        TimedMessage(frame.recv_ns, frame.body)
        for frame in taped(raw, symbol)
        if GAP_REASON.encode() not in frame.body  # a replay finds these gaps itself, but rejects nothing
    ]
    try:
        play(pipeline, messages)
        pipeline.advance(until_ns, now_ns=until_ns)
    finally:
        pipeline.close()
    return joined_rows(sink.rows[symbol])


def bits(rows: FeatureRows) -> dict[int, bytes]:
    """Row time to the bits of its values and statuses."""
    return {
        int(time_ns): rows.values[at].tobytes() + rows.status[at].tobytes() for at, time_ns in enumerate(rows.row_ns)
    }


def online_store_of(servers: Servers) -> OnlineStore:
    return OnlineStore.connect(servers.online_store, project=PROJECT)
