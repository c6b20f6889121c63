"""Shadow: comparing every served row with the tape, 20 symbols at 100 messages a second each, against serving them."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import KERNEL_CACHE, Figure
from feature_repo.project import PROJECT
from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sinks.sinks import OnlineSink
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.whole import whole_raw
from ingestion.venues.decoders import Decoders, tape_venue
from market.clock import MILLISECOND_NS, SECOND_NS, floor_to
from runtime.embedded import embedded_postgres, embedded_redis
from runtime.servers import Servers
from runtime.wiring import metadata_store
from storage.database.leases import Leases
from storage.database.shadow import ShadowStore
from storage.instruments import InstrumentPins
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.raw.raw_data import RawData
from transforms.kernel import Kernel, compile_kernel
from upkeep.shadow import ShadowLook, ShadowSource
from upkeep.shadow_watch import LOOK_S, ShadowStores, ShadowWatch

SYMBOLS: Final = tuple(f"S{number:02d}USDT" for number in range(20))
RATE: Final = 100
"""Messages a second of each symbol."""
SECONDS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_SHADOW_S", "60"))
WARM_UP_S: Final = 10
"""The engines of all symbols begin in this time."""
AHEAD_S: Final = LOOK_S + 2.0
"""How far the market may be before the end of the last look: on a busy machine it waits for the next one."""
VERSION: Final = "2.0.0"
GRID_NS: Final = 100 * MILLISECOND_NS


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds of the market, in both processes: the present, and when the last look ended."""

    now: Any
    looked: Any


def run(folder: Path) -> Iterator[Figure]:
    """Serve in this process and watch in another, in the market's time, which passes no faster than the machine's.

    Faster, rows would come in bunches, which cost a reader less.
    """
    kernel, spawning = _kernel(), get_context("spawn")
    times = _Times(spawning.Value("d", 0.0), spawning.Value("d", 0.0))
    with embedded_redis(folder / "redis") as address, embedded_postgres(folder / "postgres") as url:
        online = redis_settings(f"{address.host}:{address.port}", db=0)
        with metadata_store(Servers(online, url)):
            pass
        ours, theirs = spawning.Pipe()
        watching = spawning.Process(target=_watch, args=(theirs, folder / "raw", online, url, times))
        watching.start()
        try:
            ours.recv()
            served_cpu_s = _serve(folder / "raw", kernel, online, ours, times)
            cpu_s, counts = ours.recv()
        finally:
            watching.join(60)
            watching.kill()
    if not counts["compared"]:
        raise RuntimeError(f"shadow: rows must be compared in the {SECONDS} s measured, were not: take more")
    yield Figure(
        "shadow: a core's share to compare every served row with the tape",
        100 * cpu_s / SECONDS,
        "%",
        "lower",
        yardstick="serving the same rows: tape, engine, Redis",
        yardstick_value=100 * served_cpu_s / SECONDS,
        required="<= 5",
        details=dict(counts),
    )


def _kernel() -> Kernel:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, KERNEL_CACHE)
    kernel.warm_up()
    return kernel


def _stream() -> list[TimedMessage]:
    """One symbol's messages for the whole time, one every hundredth of a second."""
    begin_ns = 1_767_571_200 * SECOND_NS
    messages = simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=begin_ns, duration_ns=3600 * SECOND_NS)
    return [next(messages) for _ in range((WARM_UP_S + SECONDS) * RATE)]


def _serve(raw: Path, kernel: Kernel, online: dict[str, Any], control: Connection, times: _Times) -> float:
    """Seconds of the processor that serving took in the measured time."""
    pipeline = Pipeline(
        kernel,
        InstrumentPins(raw),
        raw_folder=raw,
        dead_letter=DeadLetter(raw / "dead_letter.jsonl"),
        sinks=[OnlineSink(OnlineStore.connect(online, project=PROJECT))],
        availability=available_as_if_live,
        grid_ns=GRID_NS,
    )
    stream, begin_ns, begun_s = iter(_stream()), floor_to(time.time_ns(), SECOND_NS), 0.0
    pause, first_s = threading.Event(), time.monotonic()
    with closing(pipeline):
        for tick in range(1, (WARM_UP_S + SECONDS) * 10 + 1):
            tick_ns = begin_ns + tick * GRID_NS
            for place in range(RATE // 10):
                message = next(stream)
                recv_ns = tick_ns - GRID_NS + place * GRID_NS // (RATE // 10)
                for symbol in SYMBOLS:
                    own = message.body.replace(b"BTCUSDT", symbol.encode())
                    pipeline.handle(replace(message, recv_ns=recv_ns, body=own))
            pipeline.advance(tick_ns, now_ns=tick_ns)
            times.now.value = tick / 10
            pause.wait(max(0.0, first_s + tick / 10 - time.monotonic()))
            while times.now.value - times.looked.value > AHEAD_S:
                pause.wait(0.01)
            if tick == WARM_UP_S * 10:
                control.send("measure")
                begun_s = time.process_time()
        control.send("end")
        return time.process_time() - begun_s


def _watch(control: Connection, raw: Path, online: dict[str, Any], url: str, times: _Times) -> None:
    """The watch in a process of its own; sends the seconds of the processor that it took, and its counts."""
    kernel, counts, is_measured = _kernel(), Counter[str](), threading.Event()
    pins = InstrumentPins(raw)
    source = ShadowSource(
        raw,
        partial(whole_raw, RawData(raw), instruments=pins),
        lambda symbol: Decoders(tape_venue(raw, symbol), pins),
        kernel,
        GRID_NS,
    )

    def note(look: ShadowLook) -> None:
        if look.symbol == SYMBOLS[-1]:
            times.looked.value = times.now.value
        if is_measured.is_set():
            counts.update(compared=look.compared, mismatched=look.mismatched)
            counts["not_compared"] += sum(look.not_compared.values())

    with (
        closing(OnlineStore.connect(online, project=PROJECT)) as store,
        closing(ShadowStore(url)) as findings,
        closing(Leases(url)) as leases,
    ):
        watch = ShadowWatch(
            ShadowStores(RowFeed.connect(online, project=PROJECT), store, findings, leases),
            lambda _: source,
            SYMBOLS,
            worker_id="benchmark",
            note=note,
            now_ns=time.time_ns,
            quarantines=False,
            timer=lambda: float(times.now.value),
        )
        thread = threading.Thread(target=watch.run)
        thread.start()
        control.send("ready")
        control.recv()
        begun_s = time.process_time()
        is_measured.set()
        control.recv()
        took_s = time.process_time() - begun_s
        watch.stop()
        thread.join()
        control.send((took_s, counts))
